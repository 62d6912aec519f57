import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { failureOf } from './support/failure';
import { digest, fixtures, read, refusal, size } from './support/images';
import { crc32 } from './support/png';
import { type TiffTags, tiff } from './support/tiff';

const binary = (text: string): Buffer => Buffer.from(text, 'latin1');
const brand = (major: string, ...others: string[]): Buffer => {
  const box = binary(`....ftyp${major}\0\0\0\0${others.join('')}`);
  box.writeUInt32BE(box.length);
  return box;
};

describe('a format that is not read is called by its name, by countTokens and generate alike', () => {
  const bitmap = Buffer.alloc(70);
  bitmap.write('BM');
  bitmap[14] = 40;
  const dicom = Buffer.alloc(200);
  dicom.write('DICM', 128);
  test.each<[string, Buffer]>([
    ['a HEIC file', brand('heic', 'mif1', 'heic')],
    ['a HEIC file', brand('mif1', 'mif1', 'heic')],
    ['a HEIC file', brand('hevc', 'msf1')],
    ['a HEIF file', brand('mif1', 'miaf')],
    ['a JPEG XL file', binary('\xff\x0a\0\0')],
    ['a JPEG XL file', binary('\0\0\0\x0cJXL \r\n\x87\n')],
    ['a JPEG 2000 file', binary('\0\0\0\x0cjP  \r\n\x87\n')],
    ['a JPEG 2000 file', binary('\xff\x4f\xff\x51\0')],
    ['a JPEG XR file', binary('II\xbc\x01')],
    ['a BMP file', bitmap],
    ['an ICO file', binary('\0\0\x01\0\x01\0\x20\x20')],
    ['an SVG file', binary('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')],
    [
      'an SVG file',
      binary('\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a --><!-- b -->\n<!DOCTYPE svg PUBLIC "x">\n<svg/>'),
    ],
    ['a PDF file', binary('%PDF-1.7 something')],
    ['a PDF file', binary('\n\n%PDF-1.4')],
    ['a PostScript file', binary('%!PS-Adobe-3.0 EPSF-3.0')],
    ['a Photoshop file', binary('8BPS\0\x01')],
    ['a GIMP file', binary('gimp xcf v011')],
    ['an OpenEXR file', binary('\x76\x2f\x31\x01')],
    ['a QOI file', binary('qoif')],
    ['a PNM file', binary('P6\n3 3\n255\n')],
    ['a DICOM file', dicom],
    ['a camera raw file', binary('II*\0\x10\0\0\0CR\x02\0')],
    ['a camera raw file', brand('crx ', 'isom')],
    ['a video', brand('isom', 'mp42')],
    ['a video', binary('\x1aE\xdf\xa3')],
    ['a video', binary('RIFF....AVI LIST')],
    ['a compressed file', binary('PK\x03\x04')],
    ['a web page', binary('<!DOCTYPE html><html>')],
    ['JSON', binary('{"error": "not found"}')],
    ['a Git LFS pointer', binary('version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n')],
    ['the text of a data: URL', binary('data:image/png;base64,iVBORw0KGgo=')],
    ['the text of an image in base64', Buffer.from(readFileSync(join(fixtures, 'rgb.png')).toString('base64'))],
  ])('%s (%#)', async (name, bytes) => {
    const { code, message } = await refusal(bytes);
    expect(code).toBe('not-an-image');
    expect(message).toContain(`image is ${name}`);
    expect(message).not.toMatch(/cut off|damaged/);
    // What to do.
    expect(message).toMatch(/ (Convert|Render|Take|Develop|Unpack|Look|Run|Give|Decode)[^.]+.*\.$/);
    expect(message.length).toBeLessThan(250);
  });

  test('comments without an end take no time', async () => {
    const started = performance.now();
    await refusal(binary('<!-- a -->'.repeat(400)));
    expect(performance.now() - started).toBeLessThan(1000);
  });
});

describe('a JPEG that the decoder lacks', () => {
  const jpeg = readFileSync(join(fixtures, '420.jpg'));
  const frame = jpeg.indexOf(binary('\xff\xc0\0\x11'));
  const changed = (offset: number, value: number): Buffer => {
    const copy = Buffer.from(jpeg);
    copy[frame + offset] = value;
    return copy;
  };
  const lowerHeight = changed(5, 0);
  lowerHeight[frame + 6] = 0;
  test.each<[string, Buffer]>([
    ['a lossless JPEG', changed(1, 0xc3)],
    ['a hierarchical JPEG', changed(1, 0xc5)],
    ['a lossless JPEG with arithmetic coding', changed(1, 0xcb)],
    ['a JPEG of 12 bits per channel', changed(4, 12)],
    ['a JPEG of 2 channels', changed(9, 2)],
    ['a JPEG that does not say how high it is (DNL)', lowerHeight],
    ['a JPEG-LS file', changed(1, 0xf7)],
  ])('%s', async (name, bytes) => {
    const { code, message } = await refusal(bytes);
    expect(code).toBe('not-an-image');
    expect(message).toContain(`image is ${name}, which the decoder does not read.`);
  });
});

test("a PNG in Apple's own form is called by its name", async () => {
  const bare = readFileSync(join(fixtures, 'rgb.png'));
  const apples = Buffer.concat([
    bare.subarray(0, 8),
    binary('\0\0\0\x04CgBI\x50\0\x20\x02\x2b\xd5\xb3\x7f'),
    bare.subarray(8),
  ]);
  const { code, message } = await refusal(apples);
  expect([code, message]).toEqual(['not-an-image', expect.stringContaining("PNG file in Apple's own form (CgBI)")]);
});

describe('TIFF', () => {
  const side = 16;
  const page = (tags: TiffTags, bytesPerPixel: number) => ({
    tags: { 256: side, 257: side, 278: side, ...tags },
    data: Buffer.from(Array.from({ length: side * side * bytesPerPixel }, (_, k) => (k * 37) % 256)),
  });
  const rgb = { 258: [8, 8, 8], 259: 1, 262: 2, 277: 3 };
  const grey = { 258: 8, 259: 1, 262: 1, 277: 1 };

  test('a sound file with ZSTD compression is refused, not called damaged', async () => {
    const { code, message } = await refusal(join(fixtures, 'refused', 'zstd.tif'));
    expect(code).toBe('not-an-image');
    expect(message).toBe(
      'image is a TIFF file with ZSTD compression, which the decoder does not read. ' +
        'Save it as PNG, or as TIFF in 8-bit RGB with LZW or no compression.',
    );
  });

  test.each<[string, TiffTags, number]>([
    ['old-style JPEG compression', { ...rgb, 259: 6 }, 3],
    ['JBIG (T.85) compression', { ...grey, 259: 9, 258: 1 }, 1],
    ['PixarLog compression', { ...rgb, 259: 32909 }, 3],
    ['JBIG compression', { ...grey, 259: 34661, 258: 1 }, 1],
    ['SGI LogLuv compression', { ...rgb, 259: 34676, 262: 32845 }, 3],
    ['JPEG 2000 compression', { ...rgb, 259: 34712 }, 3],
    ['JPEG 2000 (Aperio) compression', { ...rgb, 259: 33003 }, 3],
    ['LERC compression', { ...rgb, 259: 34887 }, 3],
    ['LZMA compression', { ...rgb, 259: 34925 }, 3],
    ['JPEG XL compression', { ...rgb, 259: 50002 }, 3],
    ['number 65000 compression', { ...rgb, 259: 65000 }, 3],
    ['CCITT group 4 compression of 8 bits per sample', { ...grey, 259: 4 }, 1],
    ['JPEG compression of 16 bits per sample', { ...rgb, 259: 7, 258: [16, 16, 16] }, 6],
    ['separate planes in tiles', { ...rgb, 284: 2, 322: 16, 323: 16 }, 3],
    ['CIELab pixels of 3 × 8 bits (unsigned)', { ...rgb, 262: 8 }, 3],
    ['ICCLab pixels of 3 × 8 bits (unsigned)', { ...rgb, 262: 9 }, 3],
    ['YCbCr pixels of 3 × 8 bits (unsigned)', { ...rgb, 262: 6, 530: [1, 1] }, 3],
    ['ink pixels of 4 × 8 bits (unsigned)', { ...rgb, 258: [8, 8, 8, 8], 262: 5, 277: 4, 332: 2 }, 4],
    ['transparency mask pixels of 1 × 8 bits (unsigned)', { ...grey, 262: 4 }, 1],
    ['RGB pixels of 3 × 32 bits (unsigned)', { ...rgb, 258: [32, 32, 32] }, 12],
    ['RGB pixels of 3 × 16 bits (signed)', { ...rgb, 258: [16, 16, 16], 339: [2, 2, 2] }, 6],
    ['RGB pixels of 3 × 64 bits (floating-point)', { ...rgb, 258: [64, 64, 64], 339: [3, 3, 3] }, 24],
    ['RGB pixels of 3 × 12 bits (unsigned)', { ...rgb, 258: [12, 12, 12] }, 5],
    ['samples of 5, 6, 5 bits', { ...rgb, 258: [5, 6, 5] }, 2],
    ['photometric interpretation 777', { ...rgb, 262: 777 }, 3],
    ['camera raw pictures', { ...grey, 262: 32803, 50706: Buffer.of(1, 4, 0, 0) }, 1],
    ['camera raw pictures', { ...rgb, 254: 1, 330: 8 }, 3],
    ['colour filter array (camera raw) pixels', { ...grey, 262: 32803 }, 1],
  ])('with %s is refused by that name', async (name, tags, bytesPerPixel) => {
    const { code, message } = await refusal(tiff(page(tags, bytesPerPixel)));
    expect(code).toBe('not-an-image');
    expect(message).toContain(`image is a TIFF file with ${name}`);
    expect(message).not.toMatch(/cut off|damaged/);
  });

  // Whatever its tags say: what the header is accepted for, the pixels are decoded to.
  const depths = [
    [1, 1],
    [2, 1],
    [4, 1],
    [8, 1],
    [12, 1],
    [16, 1],
    [24, 1],
    [32, 1],
    [8, 2],
    [16, 2],
    [32, 2],
    [16, 3],
    [24, 3],
    [32, 3],
    [64, 3],
    [64, 6],
  ] as const;
  const cases = [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 32803, 32844, 32845, 34892].flatMap(photometric =>
    [1, 2, 3, 4, 5, 6].map(samples => [photometric, samples] as const),
  );
  test.each(cases)(
    'header and pixels agree on photometric interpretation %d of %d samples',
    async (photometric, samples) => {
      for (const [bits, format] of depths) {
        const colours = { 0: 1, 1: 1, 3: 1, 4: 1, 5: 4 }[photometric] ?? 3;
        const tags: Record<number, number | number[]> = {
          258: Array<number>(samples).fill(bits),
          259: 1,
          262: photometric,
          277: samples,
          339: Array<number>(samples).fill(format),
        };
        if (samples > colours) tags[338] = Array<number>(samples - colours).fill(2);
        if (photometric === 3 && bits <= 16)
          tags[320] = Array.from({ length: 3 * 2 ** bits }, (_, k) => (k * 257) % 65536);
        const file = tiff(page(tags, Math.ceil((samples * bits) / 8)));
        const header = await size(file).catch((error: { code: string }) => error.code);
        const pixels = await read(file).catch((error: { code: string }) => error.code);
        const named = [photometric, samples, bits, format];
        if (typeof header === 'string') expect([...named, pixels]).toEqual([...named, header]);
        else expect([...named, pixels]).toEqual([...named, expect.objectContaining({ width: side, height: side })]);
        if (typeof header === 'string') expect([...named, header]).toEqual([...named, 'not-an-image']);
      }
    },
  );

  test('an orientation is applied, of the tag or of XMP where there is none', async () => {
    const xmp = Buffer.from('<rdf:Description><tiff:Orientation>8</tiff:Orientation></rdf:Description>');
    const turned = async (more: TiffTags) => {
      const file = tiff({ tags: { 256: 2, 257: 1, 278: 1, ...grey, ...more }, data: Buffer.of(10, 20) });
      const { data, width, height } = await read(file);
      expect(await size(file)).toEqual({ width, height, pages: 1 });
      expect(await read(file, { orient: false })).toMatchObject({ width: 2, height: 1 });
      return [width, height, data[0], data[3]];
    };
    expect(await turned({})).toEqual([2, 1, 10, 20]);
    expect(await turned({ 274: 3 })).toEqual([2, 1, 20, 10]);
    expect(await turned({ 274: 6 })).toEqual([1, 2, 10, 20]);
    expect(await turned({ 274: 8 })).toEqual([1, 2, 20, 10]);
    expect(await turned({ 700: xmp })).toEqual([1, 2, 20, 10]);
    expect(await turned({ 274: 1, 700: xmp })).toEqual([2, 1, 10, 20]);
    for (const nonsense of [0, 9, 77]) expect(await turned({ 274: nonsense, 700: xmp })).toEqual([2, 1, 10, 20]);
  });

  test('damage stays damage', async () => {
    const whole = tiff(page({ ...rgb, 259: 5 }, 3));
    expect((await failureOf(() => read(whole))).code).toBe('truncated-image');
    expect((await failureOf(() => read(whole.subarray(0, 100)))).code).toBe('truncated-image');
    expect((await failureOf(() => size(whole.subarray(0, 100)))).code).toBe('truncated-image');
  });
});

test('an animated AVIF is read as its first frame', async () => {
  const file = join(fixtures, 'animated.avif');
  expect(await size(file)).toEqual({ width: 61, height: 43, pages: 3 });
  const pixels = await read(file);
  expect(pixels.pages).toBe(3);
  // It was stored without loss.
  expect(digest(pixels)).toEqual(digest(await read(join(fixtures, 'rgb.png'))));
});

test('a multi-picture JPEG has its pictures counted, a gain map is none', async () => {
  const jpeg = readFileSync(join(fixtures, '420.jpg'));
  const segment = (marker: number, data: Buffer): Buffer =>
    Buffer.concat([Buffer.of(0xff, marker, 0, data.length + 2), data]);
  const list = segment(
    0xe2,
    Buffer.concat([binary('MPF\0II*\0\x08\0\0\0\x01\0\x01\xb0\x04\0\x01\0\0\0\x02\0\0\0\0\0\0\0')]),
  );
  const ultra = segment(0xe1, binary('http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version="1.0"/>'));
  const pictures = Buffer.concat([jpeg.subarray(0, 2), list, jpeg.subarray(2)]);
  expect((await size(pictures)).pages).toBe(2);
  expect((await read(pictures)).pages).toBe(2);
  expect((await size(Buffer.concat([jpeg.subarray(0, 2), ultra, list, jpeg.subarray(2)]))).pages).toBe(1);
});

test('an orientation behind 64 kB of other metadata is found', async () => {
  const jpeg = readFileSync(join(fixtures, 'orientation-6.jpg'));
  const filler = Buffer.concat([Buffer.of(0xff, 0xe3, 0xff, 0xff), Buffer.alloc(0xfffd)]);
  const late = Buffer.concat([jpeg.subarray(0, 2), filler, filler, jpeg.subarray(2)]);
  expect(await size(late)).toEqual({ width: 43, height: 61, pages: 1 });
  const png = readFileSync(join(fixtures, 'exif-behind.png'));
  const text = Buffer.concat([binary('\0\x02\0\0tEXt'), Buffer.alloc(0x20000, 'a'), Buffer.alloc(4)]);
  text.writeUInt32BE(crc32(text.subarray(4, -4)), text.length - 4);
  const end = png.indexOf('eXIf') - 4;
  expect(await size(Buffer.concat([png.subarray(0, end), text, png.subarray(end)]))).toMatchObject({
    width: 43,
    height: 61,
  });
});
