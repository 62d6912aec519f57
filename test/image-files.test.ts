import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { failureOf } from './support/failure';
import { digest, fixtures, read, refusal, size } from './support/images';
import { crc32 } from './support/png';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nvlm-files-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const file = join(fixtures, 'rgb.png');
const png = readFileSync(file);

describe('what is not a regular file is refused without being opened, by countTokens and generate alike', () => {
  test('a pipe, although nothing writes to it', async () => {
    const path = join(folder, 'pipe');
    execFileSync('mkfifo', [path]);
    const { code, message } = await refusal(path);
    expect(code).toBe('not-an-image');
    expect(message).toBe(
      `image is the pipe "${path}", and only files are read. Read from it yourself and give the bytes.`,
    );
  });

  test('a socket', async () => {
    const path = join(folder, 'socket');
    const server = createServer();
    await new Promise<void>(resolve => {
      server.listen(path, resolve);
    });
    const { code, message } = await refusal(path);
    server.close();
    expect([code, message]).toEqual(['not-an-image', expect.stringContaining(`image is the socket "${path}"`)]);
  });

  test('a device, which may have no end', async () => {
    const { code, message } = await refusal('/dev/zero');
    expect([code, message]).toEqual(['not-an-image', expect.stringContaining('image is the device "/dev/zero"')]);
  });

  test('a folder', async () => {
    expect(await refusal(folder)).toEqual({
      code: 'not-an-image',
      message: `image is the folder "${folder}". Give a file.`,
    });
  });
});

describe('a file that cannot be read says why', () => {
  test('it does not exist', async () => {
    const path = join(folder, 'missing.png');
    expect(await refusal(path)).toEqual({
      code: 'file-not-found',
      message: `image names the file "${path}", which does not exist. Check the path.`,
    });
    const { message } = await refusal('missing.png');
    expect(message).toContain(`it starts at "${process.cwd()}"`);
  });

  test('something in its path is a file', async () => {
    const { code, message } = await refusal(join(file, 'missing.png'));
    expect([code, message]).toEqual(['file-not-found', expect.stringContaining('something in its path is a file')]);
  });

  test('the file or a folder above it may not be read', async () => {
    const closed = join(folder, 'closed');
    mkdirSync(closed);
    copyFileSync(file, join(closed, 'a.png'));
    copyFileSync(file, join(folder, 'closed.png'));
    chmodSync(join(folder, 'closed.png'), 0);
    chmodSync(closed, 0);
    chmodSync(folder, 0o755);
    // The superuser may read everything.
    const isRoot = process.geteuid?.() === 0;
    try {
      if (isRoot) process.seteuid?.(65534);
      for (const path of [join(closed, 'a.png'), join(folder, 'closed.png')]) {
        const { code, message } = await refusal(path);
        expect(code).toBe('file-not-found');
        expect(message).toContain(`image names the file "${path}", which this process may not read (EACCES).`);
        expect(message).not.toContain('exist');
      }
    } finally {
      if (isRoot) process.seteuid?.(0);
      chmodSync(closed, 0o700);
    }
  });

  test('it is larger than what can be read at once', async () => {
    const path = join(folder, 'huge.png');
    writeFileSync(path, png);
    truncateSync(path, 2 ** 31);
    const { code, message } = await refusal(path);
    rmSync(path);
    expect([code, message]).toEqual(['image-too-large', expect.stringContaining(`${2 ** 31} bytes`)]);
  });
});

describe('a text that is a picture is told how to be given, and is not printed', () => {
  const base64 = png.toString('base64');
  const webp = readFileSync(join(fixtures, 'lossy.webp')).toString('base64');
  const jpeg = readFileSync(join(fixtures, '420.jpg')).toString('base64');
  test.each<[string, string, string]>([
    ['a PNG', base64, 'data:image/png;base64,${text}'],
    ['a JPEG', jpeg, 'data:image/jpeg;base64,${text}'],
    ['a WebP', webp, 'data:image/webp;base64,${text}'],
    ['a GIF', readFileSync(join(fixtures, 'offset.gif')).toString('base64'), 'data:image/gif;base64,${text}'],
    ['a TIFF', readFileSync(join(fixtures, 'lzw.tif')).toString('base64'), 'data:image/tiff;base64,${text}'],
    [
      'a picture of 4 MB',
      Buffer.concat([png, Buffer.alloc(3e6, 7)]).toString('base64'),
      'data:image/png;base64,${text}',
    ],
    ['with line breaks', base64.replace(/.{76}/g, '$&\r\n'), "Buffer.from(text, 'base64')"],
    ["with the alphabet of URL's", Buffer.from(png).toString('base64url'), "Buffer.from(text, 'base64')"],
    ['that lost its data:', `image/png;base64,${base64}`, "Buffer.from(text, 'base64')"],
    [
      'a HEIC',
      Buffer.concat([Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic'), Buffer.alloc(2000)]).toString('base64'),
      'base64',
    ],
    ['of nothing known, but longer than a path', Buffer.alloc(6000, 0x55).toString('base64'), 'base64'],
    ['in hexadecimal digits', png.toString('hex'), "Buffer.from(text, 'hex')"],
  ])('%s', async (_, text, advice) => {
    const { code, message } = await refusal(text);
    expect(code).toBe('bad-messages');
    expect(message).toContain(`(${text.length} characters) and not a path`);
    expect(message).toContain(advice);
    expect(message.length).toBeLessThan(250);
  });

  test('what it advises works', async () => {
    expect(digest(await read(`data:image/png;base64,${base64}`))).toEqual(digest(await read(file)));
    expect(digest(await read(Buffer.from(base64, 'base64')))).toEqual(digest(await read(file)));
  });

  test.each([
    '/workspace/data/pictures/receipts/of/the/last/year/receipt',
    'iVBORw0KGgo',
    '/9j/pictures/scan',
    'f'.repeat(64),
  ])('a path that looks a little like it stays a path: %s', async path => {
    expect((await refusal(path)).code).toBe('file-not-found');
  });
});

test('no message and no cause repeats a long text', async () => {
  const secret = 'private! ';
  const long = secret.repeat(500_000);
  const images = [
    long,
    `file:///${long}`,
    `file://host.example/${long}`,
    `data:image/png,${long}`,
    `data:${long}`,
    `x${'y'.repeat(1e6)}://z`,
  ];
  for (const image of [
    ...images,
    { data: long, width: 1, height: 1, channels: 1 },
    { [long]: 1 },
    { data: 1, [long]: 1 },
  ]) {
    const error = await failureOf(() => size(image));
    expect(inspect(error).length).toBeLessThan(4000);
    expect(error.message.length).toBeLessThan(450);
    expect((await failureOf(() => read(image))).message).toBe(error.message);
  }
});

describe('limits are the same for countTokens and generate', () => {
  const longest = 2 ** 20;
  test.each([1, 3] as const)('a side of raw pixels of %d channels', async channels => {
    for (const width of [longest + 1, 2 ** 24, 2 ** 24 + 1]) {
      const image = { data: new Uint8Array(width * channels), width, height: 1, channels };
      const { code, message } = await refusal(image);
      expect(code).toBe('image-too-large');
      expect(message).toBe(`image has ${width}x1 pixels, and no side may be longer than ${longest}. Make it smaller.`);
    }
    const image = { data: new Uint8Array(longest * channels), width: 1, height: longest, channels };
    expect(await size(image)).toEqual({ width: 1, height: longest, pages: 1 });
    expect(await read(image)).toMatchObject({ width: 1, height: longest });
  });

  test('a side of a file', async () => {
    // A PNG of one bit per pixel, whose pixels are never looked at.
    const wide = Buffer.from(readFileSync(join(fixtures, 'black-and-white.png')));
    wide.writeUInt32BE(longest + 1, 16);
    wide.writeUInt32BE(1, 20);
    wide.writeUInt32BE(crc32(wide.subarray(12, 29)), 29);
    expect((await refusal(wide)).message).toContain(`no side may be longer than ${longest}`);
  });
});
