/** Makes a GIF's first frame opaque, as Pillow's conversion to RGB sees it: a transparent pixel has its palette colour, not black. */

const EXTENSION = 0x21;
const GRAPHIC_CONTROL = 0xf9;

/** The file's bytes with the first frame's transparency switched off; the very same bytes where there is none to switch off. */
export function withoutTransparency(gif: Uint8Array): Uint8Array {
  const flags = firstTransparencyFlags(gif);
  if (flags === undefined) return gif;
  const copy = new Uint8Array(gif);
  copy[flags] = (gif[flags] ?? 0) & ~1;
  return copy;
}

/** Place of the flags byte of the graphic control extension before the first frame, if it says that a colour is transparent. */
function firstTransparencyFlags(gif: Uint8Array): number | undefined {
  const screenFlags = gif[10] ?? 0;
  const globalPalette = screenFlags & 0x80 ? 3 * 2 ** ((screenFlags & 7) + 1) : 0;
  let at = 13 + globalPalette;
  while (gif[at] === EXTENSION) {
    if (gif[at + 1] === GRAPHIC_CONTROL && (gif[at + 3] ?? 0) & 1) return at + 3;
    at += 2;
    for (let size = gif[at] ?? 0; size > 0; size = gif[at] ?? 0) at += size + 1;
    at += 1;
  }
  return undefined;
}
