import { join } from 'node:path';
import { load, type Model } from 'nvlm';
import { failureOf } from './support/failure';
import { goldenCases } from './support/golden';
import { ask, evalFolder } from './support/models';

let model: Model;
beforeAll(async () => {
  model = await load('nvlm-tiny-d');
});
afterAll(() => model.close());

test('text comes back from its ids', async () => {
  const text = 'Read 12.5% of “thé” text, 漢字 🙂\r\n  <|im_end|>';
  expect(model.detokenize(await model.tokenize(text))).toBe(text);
  expect(model.detokenize(Int32Array.from(await model.tokenize(text)))).toBe(text);
  expect(await model.tokenize('')).toEqual([]);
});

test('typed special tokens are characters, and real ones have no text', async () => {
  const ids = await model.tokenize('<|im_start|>');
  expect(ids.length).toBeGreaterThan(1);
  expect(model.detokenize([381, ...ids, 382])).toBe('<|im_start|>');
});

test('the golden answers have their golden text', async () => {
  for (const { folder, greedy_ids, greedy_text } of goldenCases()) {
    await using golden = await load(folder);
    expect(golden.detokenize(greedy_ids)).toBe(greedy_text);
  }
});

test.each([
  ['an id beyond the vocabulary', [1, 384], '384'],
  ['a negative id', [-1], '-1'],
  ['half an id', [1.5], '1.5'],
  ['a text', 'abc', 'abc'],
] as const)('detokenize refuses %s', async (_, ids, named) => {
  const error = await failureOf(() => model.detokenize(ids as never));
  expect(error.code).toBe('bad-option');
  expect(error.message).toContain(named);
});

test('tokenize refuses what is no text', async () => {
  expect((await failureOf(() => model.tokenize(5 as never))).code).toBe('bad-option');
});

describe('countTokens', () => {
  test.each(goldenCases().map(golden => [golden.name, golden] as const))(
    'counts %s as the reference does',
    async (_, golden) => {
      await using loaded = await load(golden.folder);
      const count = await loaded.countTokens({ messages: golden.messages });
      expect(count.promptTokens).toBe(golden.input_ids.length);
      expect(count.room).toBe(loaded.info.contextLength - golden.input_ids.length);
      expect(count.images.map(({ columns, rows }) => [columns, rows])).toEqual(golden.grids);
    },
  );

  test('says what generate will say', async () => {
    const messages = ask(join(evalFolder, 'demo', 'receipt.png'), 'What is the total?');
    const { room: _, ...count } = await model.countTokens({ messages });
    const { generatedTokens: _generated, ...usage } = (await model.generate({ messages, maxTokens: 1 })).usage;
    expect(count).toEqual(usage);
  });

  test('tells by how much a prompt does not fit instead of refusing it', async () => {
    const { room } = await model.countTokens({ messages: [{ role: 'user', content: 'word '.repeat(3000) }] });
    expect(room).toBeLessThan(0);
  });

  test('refuses options it does not know', async () => {
    const error = await failureOf(() => model.countTokens({ messages: [], maxTokens: 5 } as never));
    expect(error.code).toBe('bad-option');
  });
});
