/**
 * What libpng's header does not tell of a PNG: orientation that stands behind the pixels, or in a text as ImageMagick and GraphicsMagick
 * write it, and the frames of an animation. Where two chunks say different things, the later counts, as in Pillow.
 */

import { inflateSync } from 'node:zlib';

/** Behind the signature. */
const FIRST_CHUNK = 8;

/** A text of more is no metadata of ours; Pillow's limit. */
const LONGEST_TEXT = 1 << 20;

/** A file of more chunks is not made of pixels; the walk through them must not hold up the event loop. */
const MOST_CHUNKS = 1e6;

/** Where ImageMagick and GraphicsMagick put EXIF before PNG had a chunk for it. */
const PROFILE = /^Raw profile type (exif|app1)$/i;

/** Metadata of a PNG. */
export interface PngFacts {
  exif: Uint8Array | undefined;
  xmp: Uint8Array | undefined;
  /** Frames of an animation, the still picture included; 1 where there is none. */
  pages: number;
  /** Whether it is in Apple's own form of PNG, which libpng cannot read. */
  isApples: boolean;
}

/** Reads all chunks that there are; a file that is cut off has fewer. */
export function readPng(bytes: Uint8Array): PngFacts {
  let exif: Uint8Array | undefined;
  const texts = new Map<string, { type: string; rest: Uint8Array }>();
  let frames = 0;
  let isStillApart = false;
  let hasControl = false;
  let hasPixels = false;
  let isApples = false;
  for (const { type, data } of chunks(bytes)) {
    // From here on all belongs to the frames that are left out.
    if (type === 'fcTL' && hasPixels && frames > 0) break;
    if (type === 'CgBI') isApples = true;
    else if (type === 'fcTL') hasControl = true;
    else if (type === 'acTL' && !hasPixels) frames = frameCount(data);
    else if (type === 'IDAT') {
      isStillApart ||= !hasPixels && !hasControl;
      hasPixels = true;
    } else if (type === 'eXIf') exif = data;
    else if (/^(tEXt|zTXt|iTXt)$/.test(type)) {
      const { keyword, rest } = splitAtNul(data);
      if (type === 'tEXt' && keyword === 'exif') exif = rest;
      else if (PROFILE.test(keyword)) texts.set('profile', { type, rest });
      else if (keyword === 'XML:com.adobe.xmp') texts.set('xmp', { type, rest });
    }
  }
  return {
    exif: exif ?? fromRawProfile(textOf(texts.get('profile'))),
    xmp: textOf(texts.get('xmp')),
    pages: frames === 0 ? 1 : frames + (isStillApart ? 1 : 0),
    isApples,
  };
}

function* chunks(bytes: Uint8Array): Generator<{ type: string; data: Uint8Array }> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = FIRST_CHUNK;
  for (let count = 0; count < MOST_CHUNKS && at + 8 <= bytes.length; count++) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (type === 'IEND') return;
    yield { type, data: bytes.subarray(at + 8, at + 8 + length) };
    at += 12 + length;
  }
}

/** Frames that an animation says it has; a number beyond the format's limit is no animation. */
function frameCount(data: Uint8Array): number {
  if (data.length < 8) return 0;
  const frames = new DataView(data.buffer, data.byteOffset).getUint32(0);
  return frames <= 0x7fffffff ? frames : 0;
}

function splitAtNul(data: Uint8Array): { keyword: string; rest: Uint8Array } {
  // A keyword has at most 79 characters.
  const end = data.subarray(0, 80).indexOf(0);
  if (end < 0) return { keyword: '', rest: data };
  return { keyword: String.fromCharCode(...data.subarray(0, end)), rest: data.subarray(end + 1) };
}

/** The text of a chunk, given what follows its keyword; undefined where it cannot be read. */
function textOf(chunk: { type: string; rest: Uint8Array } | undefined): Uint8Array | undefined {
  if (chunk === undefined || chunk.type === 'tEXt') return chunk?.rest;
  const { type, rest } = chunk;
  if (type === 'zTXt') return inflated(rest.subarray(1));
  // Whether it is compressed, the method, the language, the translated keyword, the text.
  const language = rest.indexOf(0, 2);
  const translated = language < 0 ? -1 : rest.indexOf(0, language + 1);
  if (translated < 0) return undefined;
  const text = rest.subarray(translated + 1);
  return rest[0] === 0 ? text : inflated(text);
}

function inflated(deflated: Uint8Array): Uint8Array | undefined {
  try {
    return inflateSync(deflated, { maxOutputLength: LONGEST_TEXT });
  } catch {
    return undefined;
  }
}

/** ImageMagick's form of a profile: an empty line, its name, its length, its bytes in hexadecimal digits. */
function fromRawProfile(value: Uint8Array | undefined): Uint8Array | undefined {
  if (value === undefined || value.length > LONGEST_TEXT) return undefined;
  const digits = Buffer.from(value).toString('latin1').split('\n').slice(3).join('').replace(/\s/g, '');
  if (!/^([0-9a-f]{2})+$/i.test(digits)) return undefined;
  const profile = Buffer.from(digits, 'hex');
  // APP1 may be XMP as well.
  return profile.toString('latin1', 0, 4) === 'http' ? undefined : profile;
}
