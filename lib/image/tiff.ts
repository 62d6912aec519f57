/**
 * Which TIFF files the decoder reads right, by the tags of the first page: what libtiff or libvips lacks is refused with its name before
 * anything is decoded, and so is what they would decode to wrong colours without a word.
 */

import { countIfds, type Ifd, readFirstIfd } from './ifd.js';
import { ORIENTATION_TAG } from './orientation.js';

/** Numbers of the tags that are looked at. */
const TAG = {
  newSubfileType: 254,
  width: 256,
  height: 257,
  bitsPerSample: 258,
  compression: 259,
  photometric: 262,
  samplesPerPixel: 277,
  planarConfiguration: 284,
  tileWidth: 322,
  subIfds: 330,
  inkSet: 332,
  sampleFormat: 339,
  chromaSubsampling: 530,
  xmp: 700,
  dngVersion: 50706,
} as const;

/** The values of tag 259 that are read, and the bits per sample that each can hold; none: any. */
const COMPRESSIONS: Readonly<Record<number, readonly number[]>> = {
  1: [],
  2: [1],
  3: [1],
  4: [1],
  5: [],
  7: [8],
  8: [],
  32766: [2],
  32771: [1],
  32773: [],
  32809: [4],
  32946: [],
  50001: [8],
};

/** Names of those that are not read, and of those that may hold other bits than they can. */
const COMPRESSION_NAMES: Readonly<Record<number, string>> = {
  2: 'CCITT',
  3: 'CCITT group 3',
  4: 'CCITT group 4',
  6: 'old-style JPEG',
  7: 'JPEG',
  9: 'JBIG (T.85)',
  10: 'JBIG (T.43)',
  32766: 'NeXT',
  32771: 'CCITT',
  32809: 'ThunderScan',
  32908: 'PixarFilm',
  32909: 'PixarLog',
  32947: 'Kodak DCS',
  33003: 'JPEG 2000 (Aperio)',
  33005: 'JPEG 2000 (Aperio)',
  34661: 'JBIG',
  34676: 'SGI LogLuv',
  34677: 'SGI LogLuv',
  34712: 'JPEG 2000',
  34715: 'JBIG2',
  34887: 'LERC',
  34892: 'lossy JPEG (DNG)',
  34925: 'LZMA',
  50000: 'ZSTD',
  50001: 'WebP',
  50002: 'JPEG XL',
  52546: 'JPEG XL (DNG)',
};

/** Names of the values of tag 262. */
const PHOTOMETRIC_NAMES: Readonly<Record<number, string>> = {
  0: 'white-is-zero grey',
  1: 'grey',
  2: 'RGB',
  3: 'palette',
  4: 'transparency mask',
  5: 'CMYK',
  6: 'YCbCr',
  8: 'CIELab',
  9: 'ICCLab',
  10: 'ITULab',
  32803: 'colour filter array (camera raw)',
  32844: 'LogL',
  32845: 'LogLuv',
  34892: 'linear raw (camera raw)',
  51177: 'depth map',
};

/** Values of tag 339. */
const UNSIGNED = 1;
const FLOAT = 3;
const UNTYPED = 4;
const FORMAT_NAMES = ['', 'unsigned', 'signed', 'floating-point', 'untyped', 'complex', 'complex'];

/** What is read of a TIFF. */
export interface TiffFacts {
  /** What of it is not read right; undefined: nothing that the tags tell. */
  unsupported: string | undefined;
  /** The tag; undefined: there is none. */
  orientation: number | undefined;
  xmp: Uint8Array | undefined;
  pages: number;
}

/**
 * Reads the first page's tags; undefined where they are cut off or make no picture. An orientation that means nothing, such as the 0 that
 * some scanners write, is set to 1 in the bytes: libtiff takes it for damage.
 */
export function readTiff(bytes: Uint8Array): TiffFacts | undefined {
  const ifd = readFirstIfd(bytes);
  if (ifd === undefined || !ifd.has(TAG.width) || !ifd.has(TAG.height)) return undefined;
  const [orientation] = ifd.integers(ORIENTATION_TAG);
  if (orientation !== undefined && (orientation < 1 || orientation > 8)) ifd.write(ORIENTATION_TAG, 1);
  return {
    unsupported: unsupported(ifd),
    orientation,
    xmp: ifd.bytes(TAG.xmp),
    pages: countIfds(bytes),
  };
}

function unsupported(ifd: Ifd): string | undefined {
  const tag = (number: number, otherwise: number): number => ifd.integers(number)[0] ?? otherwise;
  if (ifd.has(TAG.dngVersion) || (tag(TAG.newSubfileType, 0) & 1 && ifd.has(TAG.subIfds))) return 'camera raw pictures';
  const [bits = 1, ...others] = ifd.integers(TAG.bitsPerSample);
  if (others.some(n => n !== bits)) return `samples of ${[bits, ...others].join(', ')} bits`;
  const compression = tag(TAG.compression, 1);
  const possible = COMPRESSIONS[compression];
  const name = COMPRESSION_NAMES[compression] ?? `number ${compression}`;
  if (possible === undefined) return `${name} compression`;
  if (possible.length > 0 && !possible.includes(bits)) return `${name} compression of ${bits} bits per sample`;
  if (tag(TAG.planarConfiguration, 1) === 2 && ifd.has(TAG.tileWidth)) return 'separate planes in tiles';
  return unsupportedColour({
    photometric: tag(TAG.photometric, -1),
    samples: tag(TAG.samplesPerPixel, 1),
    bits,
    format: tag(TAG.sampleFormat, UNSIGNED),
    isCmyk: tag(TAG.inkSet, 1) === 1,
    isJpeg: compression === 7,
    isSubsampled: ifd.integers(TAG.chromaSubsampling).some(n => n !== 1) || !ifd.has(TAG.chromaSubsampling),
  });
}

interface Colour {
  photometric: number;
  samples: number;
  bits: number;
  /** Of tag 339. */
  format: number;
  isCmyk: boolean;
  isJpeg: boolean;
  isSubsampled: boolean;
}

function unsupportedColour(colour: Colour): string | undefined {
  if (isRead(colour)) return undefined;
  const { photometric, samples, bits, format, isCmyk } = colour;
  if (photometric < 0) return 'no photometric interpretation';
  const space = isCmyk || photometric !== 5 ? PHOTOMETRIC_NAMES[photometric] : 'ink';
  const named = space === undefined ? `photometric interpretation ${photometric}` : `${space} pixels`;
  return `${named} of ${samples} × ${bits} bits (${FORMAT_NAMES[format] ?? 'untyped'})`;
}

/** What libvips turns into the right RGB: with up to two more channels than the colours, which are dropped. */
function isRead({ photometric, samples, bits, format, isCmyk, isJpeg, isSubsampled }: Colour): boolean {
  const isUnsigned = format === UNSIGNED || format === UNTYPED;
  const isByteOrShort = isUnsigned && (bits === 8 || bits === 16);
  const isSmall = isUnsigned && samples === 1 && (bits === 1 || bits === 2 || bits === 4);
  switch (photometric) {
    case 0:
      return isSmall || (samples <= 2 && isByteOrShort);
    case 1:
      return isSmall || (samples <= 2 && isByteOrShort) || (samples === 1 && bits === 32 && format <= UNTYPED);
    case 2:
      return samples >= 3 && samples <= 5 && (isByteOrShort || (format === FLOAT && (bits === 16 || bits === 32)));
    case 3:
      return samples <= 2 && isUnsigned && [1, 2, 4, 8, 16].includes(bits);
    case 5:
      return isCmyk && (samples === 4 || samples === 5) && isByteOrShort;
    case 6:
      return samples === 3 && bits === 8 && isUnsigned && (isJpeg || isSubsampled);
    case 8:
      return samples === 3 ? bits === 16 : samples === 4 && (bits === 8 || bits === 16);
    default:
      return false;
  }
}
