/** What a JPEG's markers tell before it is decoded: a process that the decoder does not have, and the pictures of a multi-picture file. */

import { bufferOf } from './buffer.js';
import { readFirstIfd } from './ifd.js';

const START_OF_SCAN = 0xda;
const APP1 = 0xe1;
const APP2 = 0xe2;

/** Number of pictures, in the directory of a multi-picture file. */
const PICTURES_TAG = 0xb001;

/** The ways to code pixels that libjpeg does not have, by their start-of-frame marker; each with its article. */
const FOREIGN_PROCESSES: Readonly<Record<number, string>> = {
  0xc3: 'a lossless JPEG',
  0xc5: 'a hierarchical JPEG',
  0xc6: 'a hierarchical JPEG',
  0xc7: 'a hierarchical JPEG',
  0xcb: 'a lossless JPEG with arithmetic coding',
  0xcd: 'a hierarchical JPEG with arithmetic coding',
  0xce: 'a hierarchical JPEG with arithmetic coding',
  0xcf: 'a hierarchical JPEG with arithmetic coding',
  0xf7: 'a JPEG-LS file',
};

/** What is read of a JPEG's header. */
export interface JpegFacts {
  /** What it is, with its article, if the decoder does not have that; undefined: it has. */
  unsupported: string | undefined;
  /** Pictures in the file: more than 1 where a camera stored several. */
  pages: number;
}

/** Reads the markers up to the pixels. */
export function readJpeg(bytes: Uint8Array): JpegFacts {
  let unsupported: string | undefined;
  let pages = 1;
  // Of a photograph with its gain map (Ultra HDR), the map is not another picture; Pillow tells them apart in the same way.
  let hasGainMap = false;
  for (const { marker, data } of segments(bytes)) {
    if (isStartOfFrame(marker)) unsupported ??= unsupportedFrame(marker, data);
    if (marker === APP1) hasGainMap ||= bufferOf(data).includes(' hdrgm:Version="', 0, 'latin1');
    if (marker === APP2 && bufferOf(data, 4).toString('latin1') === 'MPF\0')
      pages = readFirstIfd(data.subarray(4))?.integers(PICTURES_TAG)[0] ?? 1;
  }
  return { unsupported, pages: hasGainMap ? 1 : Math.max(pages, 1) };
}

function* segments(bytes: Uint8Array): Generator<{ marker: number; data: Uint8Array }> {
  let at = 2;
  while (at + 4 <= bytes.length) {
    const marker = bytes[at + 1] ?? 0;
    // Any number of 0xff may stand before a marker, and damaged files have other bytes there.
    if (bytes[at] !== 0xff || marker === 0xff || marker === 0) {
      at += 1;
      continue;
    }
    if (marker === START_OF_SCAN) return;
    const length = ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0);
    yield { marker, data: bytes.subarray(at + 4, at + 2 + length) };
    at += 2 + Math.max(length, 2);
  }
}

function isStartOfFrame(marker: number): boolean {
  return marker in FOREIGN_PROCESSES || [0xc0, 0xc1, 0xc2, 0xc9, 0xca].includes(marker);
}

/** Precision, height, width and components stand in this order. */
function unsupportedFrame(marker: number, data: Uint8Array): string | undefined {
  if (marker in FOREIGN_PROCESSES) return FOREIGN_PROCESSES[marker];
  const [precision = 8, high = 0, low = 0, , , components = 3] = data;
  if (precision !== 8) return `a JPEG of ${precision} bits per channel`;
  if (high === 0 && low === 0) return 'a JPEG that does not say how high it is (DNL)';
  return components === 1 || components === 3 || components === 4 ? undefined : `a JPEG of ${components} channels`;
}
