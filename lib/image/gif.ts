/**
 * A GIF's first frame as Pillow's conversion to RGB sees it. A decoder of GIFs draws for a screen: it leaves out transparent pixels and
 * what the frame does not cover. Pillow looks every pixel up in the frame's palette instead, and fills the rest with the transparent colour
 * or else the first. So the frame is handed to the decoder as a GIF of its own, with nothing transparent and a palette of 256 colours.
 */

const EXTENSION = 0x21;
const IMAGE = 0x2c;
const TRAILER = 0x3b;
const GRAPHIC_CONTROL = 0xf9;

/** Bits of the flags of the screen and of a frame. */
const HAS_PALETTE = 0x80;
const IS_INTERLACED = 0x40;

/** What is read of a GIF. */
export interface GifFacts {
  /** The canvas, which Pillow widens to hold the first frame. */
  width: number;
  height: number;
  /** Frames in the file. */
  pages: number;
  first: GifFrame;
}

/** The first frame. */
export interface GifFrame {
  left: number;
  top: number;
  width: number;
  height: number;
  /** What the frame does not draw. */
  background: { r: number; g: number; b: number };
  /** Red, green and blue of 256 colours. */
  palette: Uint8Array;
  isInterlaced: boolean;
  /** Its compressed pixels, from the code size to the empty block that ends them, or to the end of a file that is cut off. */
  pixels: Uint8Array;
}

/** Reads a GIF up to its end; undefined where it has no frame. */
export function readGif(bytes: Uint8Array): GifFacts | undefined {
  const screen = bytes[10] ?? 0;
  const afterScreen = 13 + paletteLength(screen);
  const shared = bytes.subarray(13, afterScreen);
  let first: GifFrame | undefined;
  let transparent: number | undefined;
  let pages = 0;
  let at = afterScreen;
  while (at < bytes.length && bytes[at] !== TRAILER) {
    if (bytes[at] === EXTENSION) {
      // Several may precede one frame; what one says of transparency, another that says nothing does not take back.
      if (bytes[at + 1] === GRAPHIC_CONTROL && (bytes[at + 3] ?? 0) & 1) transparent = bytes[at + 6];
      at = skipBlocks(bytes, at + 2);
    } else if (bytes[at] === IMAGE && at + 10 < bytes.length) {
      const start = at + 10 + paletteLength(bytes[at + 9] ?? 0);
      const end = skipBlocks(bytes, start + 1);
      first ??= frameAt(bytes, at, { shared, transparent, pixels: bytes.subarray(start, end) });
      pages += 1;
      at = end;
    } else {
      at += 1;
    }
  }
  if (first === undefined) return undefined;
  const width = Math.max(shortAt(bytes, 6), first.left + first.width);
  const height = Math.max(shortAt(bytes, 8), first.top + first.height);
  return { width, height, pages, first };
}

/** The frame alone, as a file. It has no trailer: where the pixels were cut off, that byte would pass for one of theirs. */
export function writeGif({ width, height, palette, isInterlaced, pixels }: GifFrame): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt16LE(width, 0);
  size.writeUInt16LE(height, 2);
  const head = [Buffer.from('GIF89a'), size, Buffer.of(HAS_PALETTE | 7, 0, 0), palette];
  const frame = [Buffer.of(IMAGE, 0, 0, 0, 0), size, Buffer.of(isInterlaced ? IS_INTERLACED : 0), pixels];
  return Buffer.concat([...head, ...frame]);
}

function frameAt(
  bytes: Uint8Array,
  at: number,
  { shared, transparent, pixels }: { shared: Uint8Array; transparent: number | undefined; pixels: Uint8Array },
): GifFrame {
  const flags = bytes[at + 9] ?? 0;
  const own = bytes.subarray(at + 10, at + 10 + paletteLength(flags));
  const palette = paletteOf(own, shared);
  const index = 3 * (transparent ?? 0);
  return {
    left: shortAt(bytes, at + 1),
    top: shortAt(bytes, at + 3),
    width: shortAt(bytes, at + 5),
    height: shortAt(bytes, at + 7),
    background: { r: palette[index] ?? 0, g: palette[index + 1] ?? 0, b: palette[index + 2] ?? 0 },
    palette,
    isInterlaced: (flags & IS_INTERLACED) !== 0,
    pixels,
  };
}

/** The frame's own palette or the shared one. One that says nothing, each colour being the grey of its number, is as good as none. */
function paletteOf(own: Uint8Array, shared: Uint8Array): Uint8Array {
  const stored = [own, shared].find(colours => colours.some((value, k) => value !== Math.floor(k / 3)));
  const palette = new Uint8Array(3 * 256);
  // Where there is a palette, colours beyond it are black.
  palette.set(stored ?? palette.map((_, k) => Math.floor(k / 3)));
  return palette;
}

function paletteLength(flags: number): number {
  return flags & HAS_PALETTE ? 3 * 2 ** ((flags & 7) + 1) : 0;
}

/** Behind the empty block that ends a row of blocks, or the end of the file. */
function skipBlocks(bytes: Uint8Array, start: number): number {
  let at = start;
  for (let size = bytes[at] ?? 0; size > 0; size = bytes[at] ?? 0) at += size + 1;
  return Math.min(at + 1, bytes.length);
}

function shortAt(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
}
