/** Which way up an image is shown: by EXIF, and by XMP where EXIF does not say, as Pillow's `ImageOps.exif_transpose` decides. */

import type { Sharp } from 'sharp';
import { bufferOf } from './buffer.js';
import { readFirstIfd } from './ifd.js';

/** EXIF's and TIFF's tag. */
export const ORIENTATION_TAG = 274;

/** 1 to 8, in EXIF's sense; 1 is as stored. */
export type Orientation = number;

/** The orientation that metadata asks for. `exif` may begin with `Exif\0\0`, as it does within a JPEG. */
export function orientationOf(exif: Uint8Array | undefined, xmp: Uint8Array | undefined): Orientation {
  const ifd = exif && readFirstIfd(withoutPrefix(exif));
  return valid(ifd?.has(ORIENTATION_TAG) ? ifd.integers(ORIENTATION_TAG)[0] : orientationInXmp(xmp));
}

/** As {@link orientationOf}, where the tag was read already; undefined: there is none. */
export function orientationOfTag(tag: number | undefined, xmp: Uint8Array | undefined): Orientation {
  return valid(tag ?? orientationInXmp(xmp));
}

/** Whether width and height change places. */
export function swapsSides(orientation: Orientation): boolean {
  return orientation >= 5;
}

/** The pixels as they are shown. sharp mirrors before it rotates, in whatever order it is told. */
export function turn(image: Sharp, orientation: Orientation): Sharp {
  switch (orientation) {
    case 2:
      return image.flop();
    case 3:
      return image.rotate(180);
    case 4:
      return image.flip();
    case 5:
      return image.flop().rotate(270);
    case 6:
      return image.rotate(90);
    case 7:
      return image.flop().rotate(90);
    case 8:
      return image.rotate(270);
    default:
      return image;
  }
}

function withoutPrefix(exif: Uint8Array): Uint8Array {
  let bytes = exif;
  while (String.fromCharCode(...bytes.subarray(0, 6)) === 'Exif\0\0') bytes = bytes.subarray(6);
  return bytes;
}

function orientationInXmp(xmp: Uint8Array | undefined): number | undefined {
  if (xmp === undefined) return undefined;
  const text = bufferOf(xmp).toString('latin1');
  const digit = /tiff:Orientation(?:="|>)([0-9])/.exec(text)?.[1];
  return digit === undefined ? undefined : Number(digit);
}

function valid(orientation: number | undefined): Orientation {
  return orientation !== undefined && orientation >= 1 && orientation <= 8 ? orientation : 1;
}
