/** Writes TIFF files tag by tag, for those that no library writes. */

/** Values of a page's tags by number, as 16-bit or 32-bit integers as fits the tag, or as bytes. */
export type TiffTags = Readonly<Record<number, number | readonly number[] | Buffer>>;

export interface TiffPage {
  tags: TiffTags;
  /** One strip. */
  data: Buffer;
}

/** A little-endian file of these pages. Places and lengths of the data are filled in. */
export function tiff(...pages: TiffPage[]): Buffer {
  const parts: Buffer[] = [Buffer.from('II*\0\0\0\0\0', 'latin1')];
  let length = 8;
  const append = (...added: Buffer[]): number => {
    const at = length;
    for (const part of added) {
      const padding = Buffer.alloc(part.length % 2);
      parts.push(part, padding);
      length += part.length + padding.length;
    }
    return at;
  };
  // Where the place of the next page is written once it is known.
  let link = parts[0]?.subarray(4);
  for (const { tags, data } of pages) {
    const all: TiffTags = { ...tags, 273: append(data), 279: data.length };
    const entries = Object.entries(all).map(([tag, value]) => {
      const { type, count, bytes } = encode(Number(tag), value);
      const entry = Buffer.alloc(12);
      entry.writeUInt16LE(Number(tag), 0);
      entry.writeUInt16LE(type, 2);
      entry.writeUInt32LE(count, 4);
      if (bytes.length <= 4) bytes.copy(entry, 8);
      else entry.writeUInt32LE(append(bytes), 8);
      return entry;
    });
    const count = Buffer.alloc(2);
    count.writeUInt16LE(entries.length);
    const next = Buffer.alloc(4);
    link?.writeUInt32LE(append(count, ...entries, next), 0);
    link = next;
  }
  return Buffer.concat(parts);
}

function encode(
  tag: number,
  value: number | readonly number[] | Buffer,
): { type: number; count: number; bytes: Buffer } {
  if (Buffer.isBuffer(value)) return { type: 7, count: value.length, bytes: value };
  const values = [value].flat();
  const isLong = [256, 257, 273, 278, 279, 322, 323, 324, 325, 330].includes(tag);
  const bytes = Buffer.alloc(values.length * (isLong ? 4 : 2));
  values.forEach((n, k) => (isLong ? bytes.writeUInt32LE(n, 4 * k) : bytes.writeUInt16LE(n, 2 * k)));
  return { type: isLong ? 4 : 3, count: values.length, bytes };
}
