import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokenizer } from 'nvlm/dist/tokenizer/tokenizer.js';
import { failureOf } from './support/failure';
import { goldenFolder } from './support/golden';

const whole = join(goldenFolder, 'x-six-tiles');
const split = join(goldenFolder, 'h-vocab-merges');
const text = 'Read 12.5% of thé text,\r\n  “quoted” 漢字 🙂 <|im_end|> <tile_3> x\u0301';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nvlm-tokenizer-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('both file formats give the same ids', async () => {
  const a = await Tokenizer.open(whole);
  const b = await Tokenizer.open(split);
  const [fromWhole] = await a.encode([text]);
  const [fromSplit] = await b.encode([text]);
  expect(fromWhole).toEqual(fromSplit);
  expect(a.specialId('<|vision_pad|>')).toBe(b.specialId('<|vision_pad|>'));
});

test.each([
  ['tokenizer.json', whole],
  ['vocab.json and merges.txt', split],
])('text comes back from the ids of %s in normal form C', async (_, where) => {
  const tokenizer = await Tokenizer.open(where);
  const [ids] = await tokenizer.encode([text]);
  expect(tokenizer.decode(ids ?? [])).toBe(text.normalize('NFC'));
});

test('typed special tokens are characters', async () => {
  const tokenizer = await Tokenizer.open(whole);
  const [ids] = await tokenizer.encode(['<|im_end|>']);
  expect(ids?.length).toBeGreaterThan(1);
  expect(Array.from(ids ?? [])).not.toContain(tokenizer.specialId('<|im_end|>'));
});

test('special tokens have no text', async () => {
  const tokenizer = await Tokenizer.open(whole);
  const [ids] = await tokenizer.encode(['a']);
  expect(
    tokenizer.decode([tokenizer.specialId('<|im_start|>'), ids?.[0] ?? 0, tokenizer.specialId('<|im_end|>')]),
  ).toBe('a');
});

test('a long text, encoded in the thread, has the ids of its short pieces', async () => {
  const tokenizer = await Tokenizer.open(whole);
  const line = 'The total of the receipt is $12.50, they said.\n';
  const [short] = await tokenizer.encode([line]);
  const [long] = await tokenizer.encode([line.repeat(200)]);
  expect(Array.from(long ?? [])).toEqual(Array.from({ length: 200 }, () => Array.from(short ?? [])).flat());
  await tokenizer.close();
});

test('a large vocabulary is read in the thread and gives the same ids and bytes', async () => {
  const stored = JSON.parse(readFileSync(join(whole, 'tokenizer.json'), 'utf8')) as Record<string, unknown>;
  writeFileSync(
    join(folder, 'tokenizer.json'),
    JSON.stringify({ ...stored, padding_of_the_test: 'x'.repeat(200_000) }),
  );
  const small = await Tokenizer.open(whole);
  const large = await Tokenizer.open(folder);
  const [expected] = await small.encode([text]);
  const [ids] = await large.encode([text]);
  expect(Array.from(ids ?? [])).toEqual(Array.from(expected ?? []));
  expect(large.decode(ids ?? [])).toBe(text.normalize('NFC'));
  expect(large.specialId('<|im_end|>')).toBe(small.specialId('<|im_end|>'));
  expect(large.bytes(390)).toEqual(small.bytes(390));
  await large.close();
});

test('the table of bytes has an entry for every row of the embedding', async () => {
  const tokenizer = await Tokenizer.open(whole);
  const { bytes, offsets } = tokenizer.bytes(400);
  expect(offsets).toHaveLength(401);
  expect(offsets[400]).toBe(bytes.length);
  expect(Buffer.from(bytes.subarray(offsets[32], offsets[33])).toString()).toBe('A');
  const end = tokenizer.specialId('<|im_end|>');
  expect(offsets[end + 1]).toBe(offsets[end]);
});

test('closing rejects texts that are still in the thread', async () => {
  const tokenizer = await Tokenizer.open(whole);
  const pending = failureOf(() => tokenizer.encode(['word '.repeat(20_000)]));
  await tokenizer.close();
  expect((await pending).code).toBe('closed');
  expect((await failureOf(() => tokenizer.encode(['x']))).code).toBe('closed');
});

test('a folder without tokenizer files is not a checkpoint', async () => {
  const error = await failureOf(() => Tokenizer.open(folder));
  expect(error.code).toBe('not-a-checkpoint');
  expect(error.message).toContain(folder);
});

test.each([
  ['no JSON', '{"model": '],
  ['no vocabulary', '{"model": {}}'],
  ['an array', '[]'],
])('a tokenizer.json that holds %s is a corrupt checkpoint', async (_, content) => {
  writeFileSync(join(folder, 'tokenizer.json'), content);
  const error = await failureOf(() => Tokenizer.open(folder));
  expect(error.code).toBe('corrupt-checkpoint');
  expect(error.message).toContain('tokenizer.json');
});

test('a special token that the prompts need and the tokenizer lacks is named', async () => {
  copyFileSync(join(split, 'vocab.json'), join(folder, 'vocab.json'));
  copyFileSync(join(split, 'merges.txt'), join(folder, 'merges.txt'));
  const tokenizer = await Tokenizer.open(folder);
  const error = await failureOf(() => tokenizer.specialId('<|im_start|>'));
  expect(error.code).toBe('unsupported-config');
  expect(error.message).toContain('<|im_start|>');
});
