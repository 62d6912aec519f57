/** Animated AVIF files, which libvips takes for no image: their brand is another, and their frames are a track. */

import { bufferOf } from './buffer.js';

/** More boxes side by side are not looked through. */
const MOST_BOXES = 4096;

/** Whether the bytes begin as an AVIF file does, animated or not. */
export function isAvif(brands: readonly string[]): boolean {
  return brands.includes('avif') || brands.includes('avis');
}

/** The brands of a file in the ISO base format, the major one first; none where it is another file. */
export function brandsOf(bytes: Uint8Array): string[] {
  const view = bufferOf(bytes.subarray(0, 2048));
  if (view.toString('latin1', 4, 8) !== 'ftyp') return [];
  const end = Math.min(view.readUInt32BE(0), view.length);
  const brands = [view.toString('latin1', 8, 12)];
  // The minor version is in between.
  for (let at = 16; at + 4 <= end; at += 4) brands.push(view.toString('latin1', at, at + 4));
  return brands;
}

/** Makes libvips read the still picture of an animated file. Writes to the bytes. */
export function setStillBrand(bytes: Uint8Array): void {
  bytes.set(Buffer.from('avif', 'latin1'), 8);
}

/** Frames of an animation; 1 where there is none. */
export function countFrames(bytes: Uint8Array): number {
  const samples = find(bytes, ['moov', 'trak']).map(track => {
    const [handler] = find(track, ['mdia', 'hdlr']);
    const [sizes] = find(track, ['mdia', 'minf', 'stbl', 'stsz']);
    // A track of another kind is the transparency of this one.
    const isPictures = handler !== undefined && bufferOf(handler).toString('latin1', 8, 12) === 'pict';
    return isPictures && sizes !== undefined && sizes.length >= 12 ? bufferOf(sizes).readUInt32BE(8) : 1;
  });
  return Math.max(1, ...samples);
}

/** The contents of all boxes at a path of types. */
function find(bytes: Uint8Array, [type, ...rest]: readonly string[]): Uint8Array[] {
  const found = boxes(bytes).filter(box => box.type === type);
  return found.flatMap(({ data }) => (rest.length === 0 ? [data] : find(data, rest)));
}

function boxes(bytes: Uint8Array): { type: string; data: Uint8Array }[] {
  const view = bufferOf(bytes);
  const found: { type: string; data: Uint8Array }[] = [];
  for (let at = 0; at + 8 <= view.length && found.length < MOST_BOXES; ) {
    const short = view.readUInt32BE(at);
    const isLong = short === 1 && at + 16 <= view.length;
    const head = isLong ? 16 : 8;
    // 0 is a box that ends with the file.
    const size = isLong ? Number(view.readBigUInt64BE(at + 8)) : short || view.length - at;
    if (size < head) break;
    found.push({ type: view.toString('latin1', at + 4, at + 8), data: bytes.subarray(at + head, at + size) });
    at += size;
  }
  return found;
}
