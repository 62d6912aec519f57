/** What an image file says of itself before its pixels are decoded: whether it is read at all, its size, how it is turned, its pages. */

import sharp, { type Metadata } from 'sharp';
import { shorten } from '../checks.js';
import { NvlmError } from '../errors.js';
import { countFrames, setStillBrand } from './avif.js';
import { encodingOf, LOOKED_AT } from './base64.js';
import { bufferOf } from './buffer.js';
import { type Format, recognize } from './formats.js';
import { type GifFrame, readGif } from './gif.js';
import { readJpeg } from './jpeg.js';
import { type Orientation, orientationOf, orientationOfTag } from './orientation.js';
import { readPng } from './png.js';
import { readTiff } from './tiff.js';

/** An image by its header. */
export interface Header {
  /** Pixels as they are stored. */
  width: number;
  height: number;
  orientation: Orientation;
  /** Pictures in the file: frames of an animation, pages. Only the first is read. */
  pages: number;
  /** GIF: what is to be decoded in place of the file. */
  frame?: GifFrame;
}

const READ = 'JPEG, PNG, WebP, GIF, TIFF and AVIF are read';

/** The format of a file; refuses all that are not read. */
export function formatOf(bytes: Uint8Array, where: string): Format {
  const found = recognize(bytes);
  if (typeof found === 'string') return found;
  if (found !== undefined) throw refusal(`${where} is ${found.name}; ${READ}. ${found.advice}`);
  if (bytes.length === 0) throw refusal(`${where} is empty. Give an image; ${READ}.`);
  const text = bufferOf(bytes, LOOKED_AT).toString('latin1');
  const encoding = encodingOf(text);
  if (encoding !== undefined)
    throw refusal(`${where} is the text of an image in ${encoding}. Decode it: Buffer.from(text, '${encoding}').`);
  const message = `${where} does not start like a JPEG, PNG, WebP, GIF, TIFF or AVIF file. Give a file in one of these formats, or raw pixels.`;
  throw refusal(message);
}

/** Reads a header from a file's bytes, or from as many as hold it. The bytes are our own: what stops the decoder is changed in them. */
export async function readHeader(bytes: Uint8Array, format: Format, where: string): Promise<Header> {
  switch (format) {
    case 'jpeg': {
      const { unsupported, pages } = readJpeg(bytes);
      if (unsupported !== undefined) throw refusal(`${where} is ${unsupported}, ${LACKING} ${CONVERT}`);
      const { width, height, exif, xmp } = await metadataOf(bytes, where);
      return { width, height, orientation: orientationOf(exif, xmp), pages };
    }
    case 'png': {
      const { exif, xmp, pages, isApples } = readPng(bytes);
      if (isApples) throw refusal(`${where} is a PNG file in Apple's own form (CgBI), ${LACKING} ${CONVERT}`);
      const { width, height } = await metadataOf(bytes, where);
      return { width, height, orientation: orientationOf(exif, xmp), pages };
    }
    case 'webp': {
      const { width, height, exif, xmp, pages = 1 } = await metadataOf(bytes, where);
      return { width, height, orientation: orientationOf(exif, xmp), pages };
    }
    case 'avif': {
      setStillBrand(bytes);
      // How it is turned is part of the format, and done by the decoder; EXIF and XMP say nothing to it.
      const { width, height, pages = 1 } = await metadataOf(bytes, where);
      return { width, height, orientation: 1, pages: Math.max(pages, countFrames(bytes)) };
    }
    case 'gif': {
      const gif = readGif(bytes);
      if (gif === undefined) throw damaged(new Error('it has no frame'), where);
      return { width: gif.width, height: gif.height, orientation: 1, pages: gif.pages, frame: gif.first };
    }
    default:
      return readTiffHeader(bytes, where);
  }
}

/** The error of a file that the decoder found cut off or damaged, unless it says that it lacks something. */
export function undecodable(cause: unknown, format: Format | 'raw', where: string): NvlmError {
  const message = lastLine(cause);
  const isLack = format === 'tiff' ? TIFF_LACKS.test(message) : format === 'avif' && AVIF_LACKS.test(message);
  if (!isLack) return damaged(cause, where);
  return refusal(
    `${where} is ${format === 'avif' ? 'an AVIF' : 'a TIFF'} file that ${UNREAD} (${message}). ${CONVERT}`,
    cause,
  );
}

const LACKING = 'which the decoder does not read.';
const UNREAD = 'the decoder does not read';
const CONVERT = 'Convert it to PNG or baseline JPEG first.';

/** How libtiff and libvips say that they lack something, and how libheif does. A damaged file does not make them say so. */
const TIFF_LACKS =
  /not configured|not implemented|not supported|unsupported (?!image format)|no known route|can not handle|channel limit/i;
const AVIF_LACKS = /heif: unsupported/i;

async function readTiffHeader(bytes: Uint8Array, where: string): Promise<Header> {
  const tiff = readTiff(bytes);
  if (tiff?.unsupported !== undefined) {
    throw refusal(
      `${where} is a TIFF file with ${tiff.unsupported}, ${LACKING} Save it as PNG, or as TIFF in 8-bit RGB with LZW or no compression.`,
    );
  }
  const { width, height, orientation } = await metadataOf(bytes, where).catch((error: unknown) => {
    // The tags are all there, so it is the decoder that wants others.
    if (tiff === undefined) throw error;
    const { cause } = error as NvlmError;
    throw refusal(`${where} is a TIFF file that ${UNREAD} (${lastLine(cause)}). Save it as PNG first.`, cause);
  });
  const { pages = 1, xmp } = tiff ?? {};
  return { width, height, orientation: orientationOfTag(tiff ? tiff.orientation : orientation, xmp), pages };
}

async function metadataOf(bytes: Uint8Array, where: string): Promise<Metadata> {
  try {
    return await sharp(bytes, { pages: 1, limitInputPixels: false }).metadata();
  } catch (cause) {
    throw damaged(cause, where);
  }
}

function damaged(cause: unknown, where: string): NvlmError {
  const message = `${where} is cut off or damaged (${lastLine(cause)}). Get the file again.`;
  return new NvlmError('truncated-image', message, { cause });
}

function refusal(message: string, cause?: unknown): NvlmError {
  return new NvlmError('not-an-image', message, cause === undefined ? undefined : { cause });
}

/** libvips repeats itself, and says most in the end. */
function lastLine(cause: unknown): string {
  const line = (cause as Error).message.trim().split('\n').at(-1) ?? '';
  return shorten(line, 200);
}
