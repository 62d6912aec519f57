import { copyFileSync, mkdtempSync, openAsBlob, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import sharp from 'sharp';
import { failureOf } from './support/failure';
import { type Digest, digest, fixtures, read, size } from './support/images';
import { crc32 } from './support/png';

const expected = JSON.parse(readFileSync(join(fixtures, 'expected.json'), 'utf8')) as Record<
  string,
  { stored: Digest; oriented: Digest; pages: number }
>;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nvlm-image-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('pixels equal to Pillow bit for bit', () => {
  test.each(Object.keys(expected))('%s, oriented and as stored', async file => {
    const path = join(fixtures, file);
    expect(digest(await read(path))).toEqual(expected[file]?.oriented);
    expect(digest(await read(path, { orient: false }))).toEqual(expected[file]?.stored);
  });

  test('the fixtures cover grey, alpha, palettes, five formats and all eight orientations', () => {
    expect(Object.keys(expected).length).toBeGreaterThanOrEqual(57);
    const turned = [1, 2, 3, 4, 5, 6, 7, 8].map(k => expected[`orientation-${k}.jpg`]?.oriented.sha256);
    expect(new Set(turned).size).toBe(8);
  });
});

test.each(Object.keys(expected))(
  'size and pages of %s are known without decoding, orientation included',
  async file => {
    const { oriented, stored, pages } = expected[file] as (typeof expected)[string];
    const path = join(fixtures, file);
    expect(await size(path)).toEqual({ width: oriented.width, height: oriented.height, pages });
    expect(await size(path, { orient: false })).toEqual({ width: stored.width, height: stored.height, pages });
    expect((await read(path)).pages).toBe(pages);
  },
);

test('the size is known although the pixels are cut off', async () => {
  const path = join(folder, 'head.png');
  writeFileSync(path, readFileSync(join(fixtures, 'rgb.png')).subarray(0, 200));
  expect(await size(path)).toEqual({ width: 61, height: 43, pages: 1 });
});

test('AVIF is read', async () => {
  const flat = await sharp({ create: { width: 64, height: 48, channels: 3, background: { r: 200, g: 100, b: 50 } } })
    .avif({ quality: 90 })
    .toBuffer();
  const { data, width, height } = await read(flat);
  expect([width, height]).toEqual([64, 48]);
  expect(await size(flat)).toEqual({ width: 64, height: 48, pages: 1 });
  const error = Math.max(...Array.from(data, (value, k) => Math.abs(value - ([200, 100, 50][k % 3] ?? 0))));
  expect(error).toBeLessThanOrEqual(3);
});

async function original(): Promise<Buffer> {
  return sharp(join(fixtures, 'rgb.png')).raw().toBuffer();
}

describe('conversion by libvips, against the sRGB original', () => {
  test('a 16-bit PNG is exact: its high bytes are the original', async () => {
    const deep = await sharp(join(fixtures, 'rgb.png')).toColourspace('rgb16').png().toBuffer();
    expect((await sharp(deep).metadata()).depth).toBe('ushort');
    expect(Buffer.from((await read(deep)).data).equals(await original())).toBe(true);
  });

  test('a CMYK TIFF differs by at most 16 levels, 5 on average, where the colour can be printed', async () => {
    // Muted colours: saturated ones lie outside of what CMYK can hold, and no conversion brings them back.
    const raw = Buffer.from((await original()).map(value => 96 + (value >> 2)));
    const muted = sharp(raw, { raw: { width: 61, height: 43, channels: 3 } });
    const cmyk = await muted.toColourspace('cmyk').tiff({ compression: 'lzw' }).toBuffer();
    expect((await sharp(cmyk).metadata()).space).toBe('cmyk');
    const { data } = await read(cmyk);
    const errors = Array.from(data, (value, k) => Math.abs(value - (raw[k] ?? 0)));
    expect(Math.max(...errors)).toBeLessThanOrEqual(16);
    expect(errors.reduce((sum, error) => sum + error) / errors.length).toBeLessThanOrEqual(5);
  });
});

describe('every way to give an image leads to the same pixels', () => {
  const file = join(fixtures, 'rgb.png');
  const bytes = readFileSync(file);
  const ways: [string, () => unknown][] = [
    ['a file URL', () => pathToFileURL(file)],
    ['a file URL as a string', () => pathToFileURL(file).href],
    ['a base64 data: URL', () => `data:image/png;base64,${bytes.toString('base64')}`],
    [
      'a percent-encoded data: URL',
      () => `data:image/png,${Array.from(bytes, b => `%${b.toString(16).padStart(2, '0')}`).join('')}`,
    ],
    ['a data: URL object', () => new URL(`data:image/png;base64,${bytes.toString('base64')}`)],
    ['a Buffer', () => bytes],
    [
      'a Uint8Array that is part of a larger one',
      () => new Uint8Array([0, 0, 0, ...bytes, 9]).subarray(3, 3 + bytes.length),
    ],
    ['an ArrayBuffer', () => new Uint8Array(bytes).buffer],
    [
      'shared memory',
      () => {
        const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
        shared.set(bytes);
        return shared;
      },
    ],
    ['a Blob', () => new Blob([bytes])],
  ];
  test.each(ways)('%s', async (_, way) => {
    expect(digest(await read(way()))).toEqual(expected['rgb.png']?.oriented);
    expect(await size(way())).toEqual({ width: 61, height: 43, pages: 1 });
  });

  test.each([
    ['RGB', 'rgb.png', 3],
    ['RGBA', 'rgba.png', 4],
    ['grey', 'grey.png', 1],
    ['grey and alpha', 'grey-alpha.png', 2],
  ] as const)('raw pixels of %s', async (_, name, channels) => {
    const rgba = await sharp(join(fixtures, name)).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
    const { info } = rgba;
    // Red alone is the grey value; the fourth channel is alpha.
    const kept = { 1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3] }[channels];
    const data = Buffer.from(
      Array.from({ length: 61 * 43 }, (_unused, k) => kept.map(c => rgba.data[k * 4 + c] ?? 0)).flat(),
    );
    expect(digest(await read({ data, width: info.width, height: info.height, channels }))).toEqual(
      expected[name]?.oriented,
    );
    const clamped = new Uint8ClampedArray(data);
    expect(digest(await read({ data: clamped, width: info.width, height: info.height, channels }))).toEqual(
      expected[name]?.oriented,
    );
  });

  test('raw RGB in shared memory is read in place, everything else is copied', async () => {
    const shared = new Uint8ClampedArray(new SharedArrayBuffer(20), 4, 12);
    const inPlace = await read({ data: shared, width: 2, height: 2, channels: 3 });
    expect([inPlace.data.buffer, inPlace.data.byteOffset, inPlace.data.byteLength]).toEqual([shared.buffer, 4, 12]);
    const data = new Uint8Array(12);
    expect((await read({ data, width: 2, height: 2, channels: 3 })).data.buffer).not.toBe(data.buffer);
  });
});

describe('a file that is cut off is refused', () => {
  const cuts = ['rgb.png', '420.jpg', 'progressive.jpg', 'lossless.webp', 'lossy.webp', 'lzw.tif', 'picture.gif'];
  test.each(cuts.flatMap(file => [0.3, 0.7, 0.95].map(share => [file, share] as const)))(
    '%s after %d of its bytes',
    async (file, share) => {
      const whole = readFileSync(join(fixtures, file));
      const error = await failureOf(() => read(whole.subarray(0, Math.floor(whole.length * share))));
      expect(error.code).toBe('truncated-image');
      expect(error.message).toContain('image is cut off or damaged');
      expect(error.cause).toBeDefined();
    },
  );
});

test('pixels beyond the limit are refused before decoding, with the size', async () => {
  const error = await failureOf(() => read(join(fixtures, 'rgb.png'), { maxPixels: 61 * 43 - 1 }));
  expect(error.code).toBe('image-too-large');
  expect(error.message).toMatch(/61x43 = 2623 pixels.*limit of 2622.*maxPixels/);
  expect((await read(join(fixtures, 'rgb.png'), { maxPixels: 61 * 43 })).width).toBe(61);
});

test('a header that promises too many pixels is refused although nothing follows it', async () => {
  const bomb = Buffer.from(readFileSync(join(fixtures, 'rgb.png')).subarray(0, 60));
  bomb.writeUInt32BE(100_000, 16);
  bomb.writeUInt32BE(100_000, 20);
  bomb.writeUInt32BE(crc32(bomb.subarray(12, 29)), 29);
  expect((await failureOf(() => read(bomb))).code).toBe('image-too-large');
});

test.each([
  ['text', Buffer.from('hello, this is no image at all')],
  ['nothing', Buffer.alloc(0)],
  [
    'SVG, which is not among the formats',
    Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
  ],
  ['PDF', Buffer.from('%PDF-1.7 something')],
  ['HEIC', Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'latin1')],
])('%s is not an image', async (_, bytes) => {
  expect((await failureOf(() => read(bytes))).code).toBe('not-an-image');
  expect((await failureOf(() => size(bytes))).code).toBe('not-an-image');
});

test('a path without a file says so with the path, and a folder is not an image', async () => {
  const missing = await failureOf(() => read(join(folder, 'missing.png')));
  expect(missing.code).toBe('file-not-found');
  expect(missing.message).toContain(join(folder, 'missing.png'));
  expect((await failureOf(() => read(folder))).code).toBe('not-an-image');
  expect((await failureOf(() => size(folder))).code).toBe('not-an-image');
});

test('a Blob of a file that is gone says so', async () => {
  const path = join(folder, 'blob.png');
  copyFileSync(join(fixtures, 'rgb.png'), path);
  const blob = await openAsBlob(path);
  expect(digest(await read(blob))).toEqual(expected['rgb.png']?.oriented);
  rmSync(path);
  for (const call of [read, size]) {
    const error = await failureOf(() => call(blob));
    expect(error.code).toBe('file-not-found');
    expect(error.message).toMatch(/^image is a Blob that cannot be read \(.+\)\./);
  }
});

test('what looks like a Blob may fail in any way', async () => {
  const like = (arrayBuffer: () => Promise<unknown>): unknown => ({ arrayBuffer, slice: () => like(arrayBuffer) });
  for (const call of [read, size]) {
    for (const thrown of [null, Object.create(null), new Error('gone')]) {
      expect((await failureOf(() => call(like(() => Promise.reject(thrown))))).code).toBe('file-not-found');
    }
    for (const answer of [undefined, 5, 'text', new ArrayBuffer(0)]) {
      expect((await failureOf(() => call(like(() => Promise.resolve(answer))))).code).toBe('not-an-image');
    }
  }
});

test('a file that changed between two calls is read anew', async () => {
  const path = join(folder, 'changing.png');
  copyFileSync(join(fixtures, 'rgb.png'), path);
  expect(digest(await read(path))).toEqual(expected['rgb.png']?.oriented);
  copyFileSync(join(fixtures, 'grey.png'), path);
  expect(digest(await read(path))).toEqual(expected['grey.png']?.oriented);
});
