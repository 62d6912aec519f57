import { interpretMessages } from 'nvlm/dist/prompt/messages.js';
import { failureOf } from './support/failure';

const limits = { minTiles: 1, maxTiles: 6, maxImages: 3 };
const image = { type: 'image', image: 'picture.png' };

const interpret = (messages: unknown, images?: unknown): ReturnType<typeof interpretMessages> =>
  interpretMessages(messages, images, limits);

test('string content is one text without image syntax', () => {
  const { messages, images } = interpret([{ role: 'user', content: 'What is <image>?' }]);
  expect(messages).toEqual([{ role: 'user', parts: [{ type: 'text', text: 'What is <image>?' }] }]);
  expect(images).toEqual([]);
});

test('parts keep their order, and images theirs over all turns', () => {
  const { messages, images } = interpret([
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: [{ type: 'text', text: 'a' }, image] },
    { role: 'assistant', content: 'b' },
    { role: 'user', content: [{ type: 'image', image: 'second.png', maxTiles: 2, orient: false }] },
  ]);
  expect(messages.map(({ parts }) => parts.map(({ type }) => type))).toEqual([
    ['text'],
    ['text', 'image'],
    ['text'],
    ['image'],
  ]);
  expect(images.map(({ source, maxTiles, orient, where }) => ({ source, maxTiles, orient, where }))).toEqual([
    {
      source: { kind: 'file', path: 'picture.png' },
      maxTiles: undefined,
      orient: true,
      where: 'messages[1].content[1].image',
    },
    { source: { kind: 'file', path: 'second.png' }, maxTiles: 2, orient: false, where: 'messages[3].content[0].image' },
  ]);
});

test("images given apart stand in front of the first user turn's text", () => {
  const { messages, images } = interpret(
    [
      { role: 'system', content: 's' },
      { role: 'user', content: 'q' },
    ],
    ['a.png', { type: 'image', image: 'b.png', maxTiles: 1 }],
  );
  expect(messages[1]?.parts.map(({ type }) => type)).toEqual(['image', 'image', 'text']);
  expect(images.map(({ where }) => where)).toEqual(['images[0]', 'images[1].image']);
});

test.each([
  ['no array', 'hello', 'options.messages'],
  ['an empty array', [], 'options.messages'],
  ['undefined', undefined, 'options.messages'],
  ['a message that is null', [null], 'messages[0]'],
  ['a message that is a string', ['hi'], 'messages[0]'],
  ['an unknown role', [{ role: 'tool', content: 'x' }], 'messages[0].role'],
  ['a misspelt key', [{ role: 'user', contents: 'x' }], 'Did you mean content?'],
  ['no content', [{ role: 'user' }], 'messages[0].content'],
  ['content that is a number', [{ role: 'user', content: 7 }], 'messages[0].content'],
  [
    'a late system message',
    [
      { role: 'user', content: 'x' },
      { role: 'system', content: 'y' },
    ],
    'messages[1]',
  ],
  [
    'a part of unknown type',
    [{ role: 'user', content: [{ type: 'image_url', image_url: 'x' }] }],
    'messages[0].content[0].type',
  ],
  ['a part that is a string', [{ role: 'user', content: ['x'] }], 'messages[0].content[0]'],
  ['a text part without text', [{ role: 'user', content: [{ type: 'text' }] }], 'messages[0].content[0].text'],
  [
    'a misspelt key of an image part',
    [{ role: 'user', content: [{ ...image, maxTile: 2 }] }],
    'Did you mean maxTiles?',
  ],
  ['an image part without image', [{ role: 'user', content: [{ type: 'image' }] }], 'messages[0].content[0].image'],
  [
    'an image that is a number',
    [{ role: 'user', content: [{ type: 'image', image: 5 }] }],
    'messages[0].content[0].image',
  ],
  [
    'an http URL',
    [{ role: 'user', content: [{ type: 'image', image: 'https://example.org/a.png' }] }],
    'nothing is fetched',
  ],
  [
    'an http URL object',
    [{ role: 'user', content: [{ type: 'image', image: new URL('http://example.org/a.png') }] }],
    'nothing is fetched',
  ],
  [
    'a data: URL without data',
    [{ role: 'user', content: [{ type: 'image', image: 'data:image/png;base64,' }] }],
    'data: URL',
  ],
  [
    'too few raw bytes',
    [
      {
        role: 'user',
        content: [{ type: 'image', image: { data: new Uint8Array(5), width: 2, height: 1, channels: 3 } }],
      },
    ],
    'Expected 6 bytes',
  ],
  [
    'raw pixels of five channels',
    [
      {
        role: 'user',
        content: [{ type: 'image', image: { data: new Uint8Array(5), width: 1, height: 1, channels: 5 } }],
      },
    ],
    '.channels',
  ],
] as const)('%s is refused with bad-messages, saying where', async (_, messages, named) => {
  const error = await failureOf(() => interpret(messages));
  expect(error.code).toBe('bad-messages');
  expect(error.message).toContain(named);
});

test.each([
  [
    'maxTiles of an image beyond the model',
    [{ role: 'user', content: [{ ...image, maxTiles: 7 }] }],
    'messages[0].content[0].maxTiles',
  ],
  ['maxTiles 0', [{ role: 'user', content: [{ ...image, maxTiles: 0 }] }], 'between 1 and 6'],
  [
    'orient that is a string',
    [{ role: 'user', content: [{ ...image, orient: 'yes' }] }],
    'messages[0].content[0].orient',
  ],
] as const)('%s is refused with bad-option, saying where', async (_, messages, named) => {
  const error = await failureOf(() => interpret(messages));
  expect(error.code).toBe('bad-option');
  expect(error.message).toContain(named);
});

test('more images than the model was loaded for are refused, with both numbers', async () => {
  const error = await failureOf(() => interpret([{ role: 'user', content: [image, image, image, image] }]));
  expect(error.code).toBe('too-many-images');
  expect(error.message).toMatch(/hold 4 images.*loaded for 3/);
});

test('images apart without a user turn are refused rather than dropped', async () => {
  expect((await failureOf(() => interpret([{ role: 'system', content: 's' }], ['a.png']))).code).toBe('bad-messages');
  expect((await failureOf(() => interpret([{ role: 'user', content: 's' }], 'a.png'))).code).toBe('bad-option');
});

test('what a getter throws, even null, reaches the caller as it is', () => {
  const hostile = {
    role: 'user',
    get content(): string {
      throw null; // eslint-disable-line no-throw-literal
    },
  };
  let thrown: unknown = 'nothing';
  try {
    interpret([hostile]);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeNull();
});
