import { join } from 'node:path';
import { type LogEntry, load, type Model, tileImage } from 'nvlm';
import { failureOf } from './support/failure';
import { fixtures } from './support/images';
import { ask } from './support/models';

const entries: LogEntry[] = [];
let model: Model;
beforeAll(async () => {
  model = await load('nvlm-tiny-d', { device: 'cpu', onLog: entry => entries.push(entry) });
});
beforeEach(() => {
  entries.length = 0;
});
afterAll(() => model.close());

describe('frames and pages that are left out are told', () => {
  test.each([
    ['animated.avif', 3],
    ['animated.png', 3],
    ['animated-with-still.png', 3],
    ['animated.webp', 3],
    ['pages.tif', 3],
    ['three-frames.gif', 3],
    ['two-frames.gif', 2],
  ])('of %s, by every call that reads it', async (name, pages) => {
    const path = join(fixtures, name);
    const message =
      `messages[0].content[0].image holds ${pages} pictures (frames or pages), and only the first is read. ` +
      'Give the others as images of their own.';
    const messages = ask(path, 'What is this?');
    const count = await model.countTokens({ messages });
    const answer = await model.generate({ messages, maxTokens: 1 });
    expect(entries).toEqual([
      { level: 'warn', message },
      { level: 'warn', message },
    ]);
    expect(count.images).toMatchObject([{ width: 61, height: 43, pages }]);
    expect(answer.usage.images).toEqual(count.images);
    const handle = await model.encodeImage(path);
    expect(handle.usage).toEqual(count.images[0]);
    expect(entries).toHaveLength(3);
    // The handle is read no more.
    const again = await model.generate({ messages: [{ role: 'user', content: 'x' }], images: [handle], maxTokens: 1 });
    expect(again.usage.images).toEqual(count.images);
    expect(entries).toHaveLength(3);
    handle.release();
    expect((await tileImage(path)).pages).toBe(pages);
  });

  test('a single picture has one page, and nothing is told', async () => {
    for (const image of [
      join(fixtures, 'rgb.png'),
      { data: new Uint8Array(12), width: 2, height: 2, channels: 3 as const },
    ]) {
      const messages = [{ role: 'user' as const, content: [{ type: 'image' as const, image }] }];
      expect((await model.countTokens({ messages })).images[0]?.pages).toBe(1);
      expect((await model.generate({ messages, maxTokens: 1 })).usage.images[0]?.pages).toBe(1);
    }
    expect(entries).toEqual([]);
  });
});

test.each([
  'exif-behind.png',
  'exif-in-ztxt.png',
  'exif-in-text-behind.png',
  'xmp.png',
  'xmp.jpg',
  'xmp.webp',
  'beyond-screen.gif',
  'offset.gif',
])('countTokens and generate agree on %s', async name => {
  const messages = ask(join(fixtures, name), 'What is this?');
  const { usage } = await model.generate({ messages, maxTokens: 1 });
  expect((await model.countTokens({ messages })).images).toEqual(usage.images);
});

test.each<[string, unknown, string]>([
  ['an unsupported TIFF', join(fixtures, 'refused', 'zstd.tif'), 'not-an-image'],
  ['a device', '/dev/zero', 'not-an-image'],
  ['a folder', fixtures, 'not-an-image'],
  [
    'a side that is too long',
    { data: new Uint8Array(2 ** 24 + 1), width: 2 ** 24 + 1, height: 1, channels: 1 },
    'image-too-large',
  ],
  ['bare base64', 'iVBORw0KGgoAAAANSUhEUgAA'.repeat(9), 'bad-messages'],
])('countTokens, generate, encodeImage and tileImage refuse %s alike', async (_, image, code) => {
  const messages = ask(image as string, 'What is this?');
  const errors = [
    await failureOf(() => model.countTokens({ messages })),
    await failureOf(() => model.generate({ messages })),
    await failureOf(() => model.encodeImage(image as string)),
    await failureOf(() => tileImage(image as string)),
  ];
  expect(errors.map(error => error.code)).toEqual([code, code, code, code]);
  const ends = errors.map(error => error.message.slice(error.message.indexOf('image ')));
  expect(new Set(ends).size).toBe(1);
});
