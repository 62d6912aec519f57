/** What a user gives as an image -> where its bytes or pixels are. Reads nothing; nothing is fetched from a network either. */

import { fileURLToPath } from 'node:url';
import { types } from 'node:util';
import { asObject, checkKeys, show } from '../checks.js';
import { NvlmError } from '../errors.js';
import { encodingOf, mediaTypeOf } from './base64.js';
import { asBytes, LONGEST_PATH, type StoredImage } from './stored.js';

/** Pixels that are already decoded. */
export interface RawSource {
  kind: 'raw';
  data: Uint8Array | Uint8ClampedArray;
  width: number;
  height: number;
  channels: 1 | 2 | 3 | 4;
}

/** Where the pixels come from. */
export type ImageSource = StoredImage | RawSource;

const KINDS =
  'a path, a file: or data: URL, bytes, a Blob, raw pixels { data, width, height, channels } or an encoded image';

/** Sorts what a user passed, without reading anything. */
export function interpretSource(value: unknown, where: string): ImageSource {
  if (typeof value === 'string') return fromString(value, where);
  const bytes = asBytes(value);
  if (bytes !== undefined) return ofBytes(bytes);
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

function ofBytes(bytes: Uint8Array): ImageSource {
  return { kind: 'bytes', bytes, length: bytes.byteLength };
}

function fromString(text: string, where: string): ImageSource {
  if (/^data:/i.test(text)) return ofBytes(fromDataUrl(text, where));
  if (/^file:/i.test(text)) {
    try {
      return { kind: 'file', path: fileURLToPath(text) };
    } catch (cause) {
      throw new NvlmError(
        'bad-messages',
        `${where} is not a usable file URL: ${show(text)}. Give file:///absolute/path.`,
        // It repeats the text, whatever its length.
        text.length > LONGEST_PATH ? undefined : { cause },
      );
    }
  }
  // Two letters at least, so that C:\picture.png stays a path.
  const scheme = /^([a-z][a-z0-9+.-]{1,30}):\/\//i.exec(text)?.[1];
  if (scheme !== undefined) {
    throw new NvlmError(
      'bad-messages',
      `${where} is a ${scheme} URL, and nothing is fetched. Fetch it yourself and give the bytes.`,
    );
  }
  if (text === '' || text.includes('\0')) {
    throw new NvlmError('bad-messages', `Expected an image for ${where} but received ${show(text)}. Give ${KINDS}.`);
  }
  const encoding = encodingOf(text);
  if (encoding !== undefined) throw bareText(text, encoding, where);
  return { kind: 'file', path: text };
}

/** The error of a picture as text without anything that says so; the text itself stays out of it. */
function bareText(text: string, encoding: 'base64' | 'hex', where: string): NvlmError {
  const asUrl = encoding === 'base64' ? `\`data:${mediaTypeOf(text)};base64,\${text}\` or ` : '';
  return new NvlmError(
    'bad-messages',
    `${where} is the text of an image in ${encoding} (${text.length} characters) and not a path. Give ${asUrl}Buffer.from(text, '${encoding}').`,
  );
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
