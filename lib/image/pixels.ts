/** An image as the user gave it -> RGB pixels, or only its size. Decoding runs on libuv's pool. */

import { types } from 'node:util';
import sharp, { type Sharp, type SharpOptions } from 'sharp';
import { NvlmError } from '../errors.js';
import type { Format } from './formats.js';
import { type GifFrame, writeGif } from './gif.js';
import { formatOf, type Header, readHeader, undecodable } from './header.js';
import { swapsSides, turn } from './orientation.js';
import { ownBytes } from './own-bytes.js';
import type { ImageSource, RawSource } from './source.js';
import { readBeginning, readWhole } from './stored.js';

/** How an image is read. */
export interface ReadOptions {
  /** Whether the orientation is applied. */
  orient: boolean;
  /** Most pixels, looked at before decoding. */
  maxPixels: number;
  /** What the image is called in messages, such as `messages[0].content[1].image`. */
  where: string;
}

/** What an image is before it is decoded. */
export interface ImageSize {
  /** Pixels, after orientation. */
  width: number;
  height: number;
  /** Pictures in the file; only the first is read. */
  pages: number;
}

/** RGB, 8 bits a channel, rows from top to bottom. */
export interface Pixels extends ImageSize {
  data: Uint8Array;
}

/** Enough for the header of nearly every JPEG. Other formats may have orientation and pages at the end, and are read whole. */
const HEADER_BYTES = 64 * 1024;

/** Pixels of a side that the engine resizes; native/image/sizes.cc holds it too. */
const LONGEST_SIDE = 2 ** 20;

/** Width, height and pages, without decoding any pixels. */
export async function readSize(source: ImageSource, options: ReadOptions): Promise<ImageSize> {
  if (source.kind === 'raw') return checkSize({ width: source.width, height: source.height, pages: 1 }, options);
  const { where } = options;
  const beginning = await readBeginning(source, HEADER_BYTES, where);
  const isWhole = beginning.length < HEADER_BYTES;
  const format = formatOf(beginning, where);
  if (isWhole || format === 'jpeg') {
    const header = await readHeader(beginning, format, where).catch((error: unknown) => {
      if (isWhole || !NvlmError.is(error, 'truncated-image')) throw error;
      return undefined;
    });
    if (header !== undefined) return sizeOf(header, options);
  }
  const bytes = await readWhole(source, where);
  return sizeOf(await readHeader(bytes, formatOf(bytes, where), where), options);
}

/** The image's pixels as RGB; alpha is dropped, never blended. */
export async function readPixels(source: ImageSource, options: ReadOptions): Promise<Pixels> {
  if (source.kind === 'raw') return readRaw(source, options);
  const { where, orient, maxPixels } = options;
  const bytes = await readWhole(source, where);
  const format = formatOf(bytes, where);
  const header = await readHeader(bytes, format, where);
  const { pages } = sizeOf(header, options);
  // failOn 'error' refuses cut files too; profiles are ignored since the models were trained on pixels as stored.
  const settings = { failOn: 'error', ignoreIcc: true, pages: 1, limitInputPixels: maxPixels } as const;
  const image = header.frame ? onCanvas(header, header.frame, settings) : sharp(bytes, settings);
  return { ...(await decode(orient ? turn(image, header.orientation) : image, format, where)), pages };
}

async function readRaw(source: RawSource, options: ReadOptions): Promise<Pixels> {
  const { width, height, channels } = source;
  const size = checkSize({ width, height, pages: 1 }, options);
  const { buffer, byteOffset } = source.data;
  const length = width * height * channels;
  // Shared memory can be neither transferred nor shrunk: the engine may read it as it stands.
  if (channels === 3 && types.isSharedArrayBuffer(buffer))
    return { data: new Uint8Array(buffer, byteOffset, length), ...size };
  const data = await ownBytes(source.data, length, `${options.where}.data`);
  if (channels === 3) return { data, ...size };
  const image = sharp(data, { raw: { width, height, channels }, limitInputPixels: options.maxPixels });
  return { ...(await decode(image, 'raw', options.where)), pages: 1 };
}

/** A GIF's first frame where Pillow has it. */
function onCanvas({ width, height }: Header, frame: GifFrame, settings: SharpOptions): Sharp {
  const { left, top, background } = frame;
  const [right, bottom] = [width - left - frame.width, height - top - frame.height];
  return sharp(writeGif(frame), settings).extend({ left, top, right, bottom, background });
}

async function decode(
  image: Sharp,
  format: Format | 'raw',
  where: string,
): Promise<{ data: Uint8Array; width: number; height: number }> {
  try {
    const { data, info } = await image
      .toColourspace('srgb')
      .removeAlpha()
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) throw new Error(`it decodes to ${info.channels} channels`);
    return { data, width: info.width, height: info.height };
  } catch (cause) {
    throw undecodable(cause, format, where);
  }
}

function sizeOf({ width, height, orientation, pages }: Header, options: ReadOptions): ImageSize {
  const swaps = options.orient && swapsSides(orientation);
  return checkSize(swaps ? { width: height, height: width, pages } : { width, height, pages }, options);
}

function checkSize(size: ImageSize, { where, maxPixels }: ReadOptions): ImageSize {
  const { width, height } = size;
  if (width * height > maxPixels) {
    throw new NvlmError(
      'image-too-large',
      `${where} has ${width}x${height} = ${width * height} pixels, more than the limit of ${maxPixels}. ` +
        'Make it smaller, or raise the load option maxPixels.',
    );
  }
  if (Math.max(width, height) > LONGEST_SIDE) {
    throw new NvlmError(
      'image-too-large',
      `${where} has ${width}x${height} pixels, and no side may be longer than ${LONGEST_SIDE}. Make it smaller.`,
    );
  }
  return size;
}
