/** TIFF's directories of tags ("IFDs"): TIFF files consist of them, and so do EXIF and the list of pictures within a JPEG. */

/** Bytes of one value, by the type's number. */
const TYPE_SIZES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8];

/** More values of a tag than anyone here asks for; a file may claim billions. */
const MOST_VALUES = 16;

/** More pages than this are not counted. */
const MOST_PAGES = 1e6;

interface Entry {
  type: number;
  count: number;
  /** Place of the first value. */
  at: number;
}

/** One directory. */
export class Ifd {
  readonly #file: TiffBytes;
  readonly #entries = new Map<number, Entry>();

  constructor(file: TiffBytes, entries: [tag: number, entry: Entry][]) {
    this.#file = file;
    this.#entries = new Map(entries);
  }

  has(tag: number): boolean {
    return this.#entries.has(tag);
  }

  /** The first values of a tag as integers; none where it is missing, of another type, or stands outside of the bytes. */
  integers(tag: number): number[] {
    const entry = this.#entries.get(tag);
    if (entry === undefined) return [];
    const size = TYPE_SIZES[entry.type] ?? 0;
    const places = Array.from({ length: Math.min(entry.count, MOST_VALUES) }, (_, k) => entry.at + k * size);
    const values = places.map(at => this.#file.integer(entry.type, at));
    return values.every(value => value !== undefined) ? values : [];
  }

  /** Overwrites the first value of a tag, if it is an unsigned integer of 16 or 32 bits. Writes to the bytes. */
  write(tag: number, value: number): void {
    const entry = this.#entries.get(tag);
    if (entry !== undefined) this.#file.write(entry.type, entry.at, value);
  }

  /** The bytes of a tag's values; undefined where it is missing. */
  bytes(tag: number): Uint8Array | undefined {
    const entry = this.#entries.get(tag);
    if (entry === undefined) return undefined;
    return this.#file.bytes.subarray(entry.at, entry.at + entry.count * (TYPE_SIZES[entry.type] ?? 0));
  }
}

/** The first directory; undefined where the bytes are not TIFF's, or it is cut off. */
export function readFirstIfd(bytes: Uint8Array): Ifd | undefined {
  const file = TiffBytes.open(bytes);
  return file?.ifd(file.first());
}

/** How many directories are chained one to the next: a TIFF file's pages. One that is cut off ends the chain, and so does a circle. */
export function countIfds(bytes: Uint8Array): number {
  const file = TiffBytes.open(bytes);
  if (file === undefined) return 0;
  const seen = new Set<number>();
  let at = file.first();
  while (at > 0 && !seen.has(at) && seen.size < MOST_PAGES) {
    const next = file.next(at);
    if (next === undefined) break;
    seen.add(at);
    at = next;
  }
  return seen.size;
}

/** Numbers in the file's byte order; undefined beyond its end. BigTIFF's counts and places have 8 bytes. */
class TiffBytes {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #little: boolean;
  readonly #big: boolean;

  private constructor(bytes: Uint8Array, little: boolean, big: boolean) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#little = little;
    this.#big = big;
  }

  static open(bytes: Uint8Array): TiffBytes | undefined {
    const mark = String.fromCharCode(...bytes.subarray(0, 4));
    if (!/^(II[*+]\0|MM\0[*+])$/.test(mark)) return undefined;
    return new TiffBytes(bytes, mark.startsWith('II'), mark.includes('+'));
  }

  /** Place of the first directory. */
  first(): number {
    return this.#place(this.#big ? 8 : 4) ?? 0;
  }

  /** Place of the directory after the one at `at`; 0: there is none. Undefined where that one is cut off. */
  next(at: number): number | undefined {
    const shape = this.#shape(at);
    if (shape === undefined) return undefined;
    const end = shape.start + shape.count * shape.width;
    if (end > this.bytes.length) return undefined;
    return this.#place(end) ?? 0;
  }

  ifd(at: number): Ifd | undefined {
    const shape = this.#shape(at);
    if (at === 0 || shape === undefined) return undefined;
    const entries: [number, Entry][] = [];
    for (let k = 0; k < shape.count; k++) {
      const place = shape.start + k * shape.width;
      const tag = this.integer(3, place);
      const entry = this.#entry(place);
      // What stands before the cut counts, as in Pillow.
      if (tag === undefined || entry === undefined) break;
      entries.push([tag, entry]);
    }
    return new Ifd(this, entries);
  }

  integer(type: number, at: number): number | undefined {
    if (at + (TYPE_SIZES[type] ?? 0) > this.bytes.length) return undefined;
    switch (type) {
      case 1:
      case 7:
        return this.#view.getUint8(at);
      case 3:
        return this.#view.getUint16(at, this.#little);
      case 4:
      case 13:
        return this.#view.getUint32(at, this.#little);
      case 6:
        return this.#view.getInt8(at);
      case 8:
        return this.#view.getInt16(at, this.#little);
      case 9:
        return this.#view.getInt32(at, this.#little);
      case 16:
      case 18:
        return Number(this.#view.getBigUint64(at, this.#little));
      default:
        return undefined;
    }
  }

  write(type: number, at: number, value: number): void {
    if (at + (TYPE_SIZES[type] ?? 0) > this.bytes.length) return;
    if (type === 3) this.#view.setUint16(at, value, this.#little);
    if (type === 4) this.#view.setUint32(at, value, this.#little);
  }

  /** How many tags a directory has, where the first stands, and the bytes of each. */
  #shape(at: number): { count: number; start: number; width: number } | undefined {
    const count = this.integer(this.#big ? 16 : 3, at);
    if (count === undefined) return undefined;
    return this.#big ? { count, start: at + 8, width: 20 } : { count, start: at + 2, width: 12 };
  }

  #entry(place: number): Entry | undefined {
    const type = this.integer(3, place + 2);
    const count = this.#place(place + 4);
    if (type === undefined || count === undefined) return undefined;
    const field = place + (this.#big ? 12 : 8);
    const isInField = count * (TYPE_SIZES[type] ?? 0) <= (this.#big ? 8 : 4);
    const at = isInField ? field : this.#place(field);
    return at === undefined ? undefined : { type, count, at };
  }

  #place(at: number): number | undefined {
    return this.integer(this.#big ? 16 : 4, at);
  }
}
