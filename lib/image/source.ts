/** An image as the user gives it -> RGB pixels, or only its size. Decoding runs on libuv's pool; nothing here fetches from a network. */

import { open, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { types } from 'node:util';
import sharp from 'sharp';
import { asObject, checkKeys, show, showThrown } from '../checks.js';
import { NvlmError } from '../errors.js';
import { withoutTransparency } from './gif.js';
import { ownBytes } from './own-bytes.js';

/** Where the pixels come from. */
export type ImageSource =
  | { kind: 'file'; path: string }
  | { kind: 'bytes'; bytes: Uint8Array }
  | { kind: 'blob'; blob: Blob }
  | { kind: 'raw'; data: Uint8Array | Uint8ClampedArray; width: number; height: number; channels: 1 | 2 | 3 | 4 };

/** RGB, 8 bits a channel, rows from top to bottom. */
export interface Pixels {
  data: Uint8Array;
  width: number;
  height: number;
}

/** How an image is read. */
export interface ReadOptions {
  /** Whether the EXIF orientation is applied. */
  orient: boolean;
  /** Most pixels, looked at before decoding. */
  maxPixels: number;
  /** What the image is called in messages, such as `messages[0].content[1].image`. */
  where: string;
}

const KINDS =
  'a path, a file: or data: URL, bytes, a Blob, raw pixels { data, width, height, channels } or an encoded image';

/** Enough for the header of nearly every file; where it is not, the whole file is read. */
const HEADER_BYTES = 64 * 1024;

/** Sorts what a user passed, without reading anything. */
export function interpretSource(value: unknown, where: string): ImageSource {
  if (typeof value === 'string') return fromString(value, where);
  const bytes = asBytes(value);
  if (bytes !== undefined) return { kind: 'bytes', bytes };
  if (typeof value === 'object' && value !== null && !types.isProxy(value)) {
    const candidate = value as Partial<URL> & Partial<Blob>;
    if (typeof candidate.href === 'string' && typeof candidate.protocol === 'string')
      return fromString(candidate.href, where);
    if (typeof candidate.arrayBuffer === 'function' && typeof candidate.slice === 'function')
      return { kind: 'blob', blob: value as Blob };
    if ('data' in value || 'width' in value) return fromRaw(value, where);
  }
  throw new NvlmError('bad-messages', `Expected an image for ${where} but received ${show(value)}. Give ${KINDS}.`);
}

/** Width and height after orientation, from the image's header alone. */
export async function readSize(source: ImageSource, options: ReadOptions): Promise<{ width: number; height: number }> {
  if (source.kind === 'raw') return checkSize(source.width, source.height, options);
  const header = await readHeader(source, options.where);
  checkFormat(header, options.where);
  try {
    return await headerSize(header, options);
  } catch (error) {
    if (NvlmError.is(error, 'image-too-large')) throw error;
    return await headerSize(await readBytes(source, options.where), options);
  }
}

/** The image's pixels as RGB; alpha is dropped, never blended. */
export async function readPixels(source: ImageSource, options: ReadOptions): Promise<Pixels> {
  if (source.kind === 'raw') {
    const { width, height, channels } = source;
    checkSize(width, height, options);
    const { buffer, byteOffset } = source.data;
    const length = width * height * channels;
    // Shared memory can be neither transferred nor shrunk: the engine may read it as it stands.
    if (channels === 3 && types.isSharedArrayBuffer(buffer))
      return { data: new Uint8Array(buffer, byteOffset, length), width, height };
    const data = await ownBytes(source.data, length, `${options.where}.data`);
    if (channels === 3) return { data, width, height };
    return decode(sharp(data, { raw: { width, height, channels }, limitInputPixels: options.maxPixels }), options);
  }
  const stored = await readBytes(source, options.where);
  const format = checkFormat(stored, options.where);
  await headerSize(stored, options);
  const bytes = format === 'gif' ? withoutTransparency(stored) : stored;
  // failOn 'error' refuses cut files too; profiles are ignored since the models were trained on pixels as stored.
  const image = sharp(bytes, { failOn: 'error', ignoreIcc: true, pages: 1, limitInputPixels: options.maxPixels });
  return decode(options.orient ? image.autoOrient() : image, options);
}

/** What is bytes as it stands, as a view. */
function asBytes(value: unknown): Uint8Array | undefined {
  if (types.isUint8Array(value)) return value;
  if (!types.isAnyArrayBuffer(value)) return undefined;
  // One that was transferred is empty, and no view of it can be made.
  return value.byteLength === 0 ? new Uint8Array() : new Uint8Array(value);
}

function fromString(text: string, where: string): ImageSource {
  if (/^data:/i.test(text)) return { kind: 'bytes', bytes: fromDataUrl(text, where) };
  if (/^file:/i.test(text)) {
    try {
      return { kind: 'file', path: fileURLToPath(text) };
    } catch (cause) {
      throw new NvlmError(
        'bad-messages',
        `${where} is not a usable file URL: ${show(text)}. Give file:///absolute/path.`,
        { cause },
      );
    }
  }
  // Two letters at least, so that C:\picture.png stays a path.
  const scheme = /^([a-z][a-z0-9+.-]+):\/\//i.exec(text)?.[1];
  if (scheme !== undefined) {
    throw new NvlmError(
      'bad-messages',
      `${where} is a ${scheme} URL, and nothing is fetched. Fetch it yourself and give the bytes.`,
    );
  }
  if (text === '' || text.includes('\0')) {
    throw new NvlmError('bad-messages', `Expected an image for ${where} but received ${show(text)}. Give ${KINDS}.`);
  }
  return { kind: 'file', path: text };
}

function fromDataUrl(url: string, where: string): Uint8Array {
  const comma = url.indexOf(',');
  const isBase64 = comma >= 0 && /;\s*base64$/i.test(url.slice(0, comma));
  try {
    if (comma < 0) throw new Error('it has no comma');
    const body = url.slice(comma + 1);
    const bytes = Buffer.from(
      isBase64 ? (body.includes('%') ? decodeURIComponent(body) : body) : unescapeBytes(body),
      isBase64 ? 'base64' : 'latin1',
    );
    if (bytes.length === 0) throw new Error('it holds no bytes');
    return bytes;
  } catch (cause) {
    const why = (cause as Error).message;
    throw new NvlmError('bad-messages', `${where} is not a usable data: URL: ${why}. Write data:image/png;base64,…`, {
      cause,
    });
  }
}

/** Percent escapes as bytes, one Latin-1 character each. */
function unescapeBytes(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function fromRaw(value: object, where: string): ImageSource {
  const raw = asObject(value, where, 'bad-messages');
  checkKeys(raw, ['data', 'width', 'height', 'channels'], where, 'bad-messages');
  const { data, width, height, channels } = raw;
  if (!isCount(width) || !isCount(height) || (channels !== 1 && channels !== 2 && channels !== 3 && channels !== 4)) {
    throw new NvlmError(
      'bad-messages',
      `Expected positive integers for ${where}.width and .height and 1 to 4 for .channels but received ${show(width)}, ${show(height)} and ` +
        `${show(channels)}. Give the pixels' true size.`,
    );
  }
  const bytes = types.isUint8ClampedArray(data) ? data : asBytes(data);
  const expected = width * height * channels;
  if (bytes?.byteLength !== expected) {
    throw new NvlmError(
      'bad-messages',
      `Expected ${expected} bytes (${width}x${height}x${channels}) for ${where}.data but received ${show(data)}. Give one byte a channel.`,
    );
  }
  return { kind: 'raw', data: bytes, width, height, channels };
}

/** A width or height that can be meant. */
function isCount(n: unknown): n is number {
  return typeof n === 'number' && Number.isInteger(n) && n > 0 && n <= 1e9;
}

async function readHeader(source: Exclude<ImageSource, { kind: 'raw' }>, where: string): Promise<Uint8Array> {
  if (source.kind === 'bytes') return ownBytes(source.bytes, Math.min(source.bytes.byteLength, HEADER_BYTES), where);
  if (source.kind === 'blob') return blobBytes(source.blob.slice(0, HEADER_BYTES), where);
  try {
    const file = await open(source.path);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw unreadable(source.path, where, cause);
  }
}

async function readBytes(source: Exclude<ImageSource, { kind: 'raw' }>, where: string): Promise<Uint8Array> {
  if (source.kind === 'bytes') return ownBytes(source.bytes, source.bytes.byteLength, where);
  if (source.kind === 'blob') return blobBytes(source.blob, where);
  try {
    return await readFile(source.path);
  } catch (cause) {
    throw unreadable(source.path, where, cause);
  }
}

/** What is no real Blob may keep the memory it answers, so this is copied as well. */
async function blobBytes(blob: Blob, where: string): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    bytes = asBytes(await blob.arrayBuffer()) ?? new Uint8Array();
  } catch (cause) {
    const message = `${where} is a Blob that cannot be read (${showThrown(cause)}). Make it again from its file.`;
    throw new NvlmError('file-not-found', message, { cause });
  }
  return ownBytes(bytes, bytes.byteLength, where);
}

function unreadable(path: string, where: string, cause: unknown): NvlmError {
  const code = (cause as NodeJS.ErrnoException).code ?? 'unknown';
  if (code === 'EISDIR')
    return new NvlmError('not-an-image', `${where} is the folder ${path}. Give a file.`, { cause });
  const message = `${where} names the file ${path}, which cannot be read (${code}). Check the path; it starts at ${process.cwd()}.`;
  return new NvlmError('file-not-found', message, { cause });
}

/** Refuses everything but the six formats before any decoder sees the bytes. */
function checkFormat(bytes: Uint8Array, where: string): string {
  const format = sniffFormat(bytes);
  if (format !== undefined) return format;
  const what = bytes.length === 0 ? 'is empty' : 'does not start like a JPEG, PNG, WebP, GIF, TIFF or AVIF file';
  throw new NvlmError('not-an-image', `${where} ${what}. Give a file in one of these formats, or raw pixels.`);
}

function sniffFormat(bytes: Uint8Array): string | undefined {
  const latin = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, 64)).toString('latin1');
  if (latin.startsWith('\xff\xd8\xff')) return 'jpeg';
  if (latin.startsWith('\x89PNG\r\n\x1a\n')) return 'png';
  if (latin.startsWith('GIF87a') || latin.startsWith('GIF89a')) return 'gif';
  if (latin.startsWith('RIFF') && latin.startsWith('WEBP', 8)) return 'webp';
  if (/^(II[*+]\0|MM\0[*+])/.test(latin)) return 'tiff';
  if (latin.startsWith('ftyp', 4) && /avi[fs]/.test(latin.slice(8))) return 'avif';
  return undefined;
}

async function headerSize(bytes: Uint8Array, options: ReadOptions): Promise<{ width: number; height: number }> {
  let metadata: sharp.Metadata;
  try {
    metadata = await sharp(bytes, { pages: 1, limitInputPixels: false }).metadata();
  } catch (cause) {
    throw damaged(cause, options.where);
  }
  const size = options.orient ? metadata.autoOrient : metadata;
  return checkSize(size.width, size.height, options);
}

function checkSize(width: number, height: number, options: ReadOptions): { width: number; height: number } {
  if (width * height <= options.maxPixels) return { width, height };
  throw new NvlmError(
    'image-too-large',
    `${options.where} has ${width}x${height} = ${width * height} pixels, more than the limit of ${options.maxPixels}. ` +
      'Make it smaller, or raise the load option maxPixels.',
  );
}

async function decode(image: sharp.Sharp, options: ReadOptions): Promise<Pixels> {
  try {
    const { data, info } = await image
      .toColourspace('srgb')
      .removeAlpha()
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) throw new Error(`it decodes to ${info.channels} channels`);
    return { data, width: info.width, height: info.height };
  } catch (cause) {
    throw damaged(cause, options.where);
  }
}

function damaged(cause: unknown, where: string): NvlmError {
  const why = (cause as Error).message.trim().split('\n').at(-1);
  return new NvlmError('truncated-image', `${where} is cut off or damaged (${why}). Get the file again.`, { cause });
}
