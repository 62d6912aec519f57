import { join } from 'node:path';
import { load, type Model } from 'nvlm';
import { failureOf } from './support/failure';
import { until } from './support/until';
import { ask, bundled, evalFolder, picture } from './support/models';

const receipt = join(evalFolder, 'demo', 'receipt.png');
const about = (image: unknown, question = 'What is the total?') => [
  {
    role: 'user' as const,
    content: [
      { type: 'image' as const, image: image as string },
      { type: 'text' as const, text: question },
    ],
  },
];

test.each(bundled)(
  '%s answers about an encoded image as about the image itself, without running the encoder again',
  async name => {
    await using model = await load(name);
    const plain = await model.generate({ messages: ask(receipt, 'What is the total?') });
    using image = await model.encodeImage(receipt);
    expect(image.usage).toEqual(plain.usage.images[0]);
    expect(image.bytes).toBeGreaterThan(0);
    const before = model.stats();
    for (let i = 0; i < 2; i++) {
      const again = await model.generate({ messages: about(image) });
      expect(again.tokens).toEqual(plain.tokens);
      expect(again.usage).toEqual(plain.usage);
      expect(again.timings.encodeTiles).toBe(0);
    }
    expect(model.stats().encodedTiles).toBe(before.encodedTiles);
  },
);

describe('a handle', () => {
  let model: Model;
  beforeAll(async () => {
    model = await load('nvlm-tiny-d');
  });
  afterAll(() => model.close());

  test('is refused by another model', async () => {
    await using other = await load('nvlm-tiny-d');
    using image = await other.encodeImage(receipt);
    expect((await failureOf(() => model.generate({ messages: about(image) }))).code).toBe('wrong-model');
    expect((await failureOf(() => model.countTokens({ messages: about(image) }))).code).toBe('wrong-model');
  });

  test('is refused once it was released; releasing twice is fine', async () => {
    const image = await model.encodeImage(receipt);
    image.release();
    image.release();
    expect((await failureOf(() => model.generate({ messages: about(image) }))).code).toBe('closed');
  });

  test('may be released while a call uses it', async () => {
    const image = await model.encodeImage(receipt);
    const stream = model.stream({ messages: about(image) });
    let text = '';
    for await (const part of stream) {
      image.release();
      if (part.type === 'text') text += part.text;
    }
    expect(text).toBe('$26.14');
  });

  test('cannot be forged', async () => {
    const image = await model.encodeImage(receipt);
    const forged: unknown = Object.create(Object.getPrototypeOf(image) as object, { bytes: { value: 1 } });
    expect((await failureOf(() => model.generate({ messages: about(forged) }))).code).toBe('bad-messages');
    image.release();
  });

  test('takes maxTiles when it is made, and refuses it later', async () => {
    using image = await model.encodeImage(receipt, { maxTiles: 2 });
    expect(image.usage).toMatchObject({ columns: 1, rows: 2, tiles: 3 });
    const messages = [{ role: 'user' as const, content: [{ type: 'image' as const, image, maxTiles: 1 }] }];
    expect((await failureOf(() => model.generate({ messages }))).code).toBe('bad-option');
    expect((await failureOf(() => model.encodeImage(image))).code).toBe('bad-option');
  });

  test('counts as an image in countTokens', async () => {
    using image = await model.encodeImage(receipt);
    expect(await model.countTokens({ messages: about(image) })).toEqual(
      await model.countTokens({ messages: about(receipt) }),
    );
  });

  test('that is released or that nobody holds is freed', async () => {
    if (global.gc === undefined) throw new Error('Run the tests with --expose-gc (npm run jest).');
    const kept = await model.encodeImage(picture);
    await until(() => model.stats().images === 1);
    for (let i = 0; i < 4; i++) await model.encodeImage(picture);
    await until(() => {
      global.gc?.();
      return model.stats().images === 1;
    });
    kept.release();
    await until(() => model.stats().images === 0);
    expect(model.stats().memory.images).toBe(0);
  });

  test.each([
    ['a misspelt option', picture, { maxTile: 3 }, 'bad-option', 'Did you mean maxTiles?'],
    ['too many tiles', picture, { maxTiles: 7 }, 'bad-option', 'options.maxTiles'],
    ['a value that is no image', 5, {}, 'bad-messages', 'for image but received 5'],
    ['a missing file', 'missing.png', {}, 'file-not-found', 'missing.png'],
    ['an aborted signal', picture, { signal: AbortSignal.abort() }, 'aborted', 'aborted'],
  ] as const)('is not made of %s', async (_, image, options, code, named) => {
    const error = await failureOf(() => model.encodeImage(image as never, options as never));
    expect(error.code).toBe(code);
    expect(error.message).toContain(named);
  });
});
