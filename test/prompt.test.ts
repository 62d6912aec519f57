import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { interpretMessages } from 'nvlm/dist/prompt/messages.js';
import { familyOf } from 'nvlm/dist/prompt/families.js';
import {
  crossTagIds,
  encodePrompt,
  type Prompt,
  type PromptConfig,
  promptRuns,
  tileTags,
} from 'nvlm/dist/prompt/templates.js';
import { Tokenizer } from 'nvlm/dist/tokenizer/tokenizer.js';
import { type GoldenCase, goldenCases } from './support/golden';

const limits = { minTiles: 1, maxTiles: 12, maxImages: 8 };
const cases = goldenCases();

async function promptOf(
  golden: GoldenCase,
): Promise<{ prompt: Prompt; config: PromptConfig; tokenizer: Tokenizer; tiles: number[] }> {
  const stored = JSON.parse(readFileSync(join(golden.folder, 'config.json'), 'utf8')) as {
    system_message?: string | null;
    force_image_size: number;
  };
  const config: PromptConfig = {
    family: familyOf(`NVLM-${golden.arch}`),
    tokensPerTile: (stored.force_image_size / 14 / 2) ** 2,
    systemMessage: stored.system_message === undefined ? 'Answer the questions.' : stored.system_message,
  };
  const tokenizer = await Tokenizer.open(golden.folder);
  const { messages } = interpretMessages(golden.messages, undefined, limits);
  const tiles = golden.grids.map(([columns, rows]) => (columns * rows > 1 ? columns * rows + 1 : 1));
  const prompt = await encodePrompt(promptRuns(messages, config, tiles), config, tokenizer);
  return { prompt, config, tokenizer, tiles };
}

test('there are thirteen golden cases', () => {
  expect(cases).toHaveLength(13);
});

test.each(cases.map(golden => [golden.name, golden] as const))(
  'the ids of %s equal the reference',
  async (_, golden) => {
    const { prompt } = await promptOf(golden);
    expect(Array.from(prompt.ids)).toEqual(golden.input_ids);
  },
);

test.each(cases.map(golden => [golden.name, golden] as const))(
  'the slots of %s are exactly its pads',
  async (_, golden) => {
    const { prompt, config, tokenizer, tiles } = await promptOf(golden);
    const pad = tokenizer.specialId(config.family.padToken);
    const pads = Array.from(prompt.ids.keys()).filter(position => prompt.ids[position] === pad);
    const slots: number[] = [];
    const order: [number, number][] = [];
    for (let i = 0; i < prompt.slots.length; i += 3) {
      const [position = -1, image = -1, tile = -1] = prompt.slots.slice(i, i + 3);
      for (let k = 0; k < config.tokensPerTile; k++) slots.push(position + k);
      order.push([image, tile]);
    }
    expect(slots).toEqual(pads);
    const expected = tiles.flatMap((count, image) =>
      Array.from({ length: count }, (_unused, tile): [number, number] => [image, tile]).filter(
        ([, tile]) => golden.arch === 'D' || (golden.arch === 'H' && tile === count - 1),
      ),
    );
    expect(order).toEqual(expected);
  },
);

test('in X every tag is found where its ids stand, one per tile in order', async () => {
  const golden = cases.find(({ name }) => name === 'x-two-images') as GoldenCase;
  const { prompt, tokenizer, tiles } = await promptOf(golden);
  const expected = tiles.flatMap((count, image) => tileTags(count).map((tag, tile) => ({ tag, image, tile })));
  expect(prompt.tags.map(({ image, tile }) => ({ image, tile }))).toEqual(
    expected.map(({ image, tile }) => ({ image, tile })),
  );
  for (const [k, { position, length }] of prompt.tags.entries()) {
    const [alone] = await tokenizer.encode([expected[k]?.tag ?? '']);
    expect(Array.from(prompt.ids.subarray(position, position + length))).toEqual(Array.from(alone ?? []));
  }
});

test('typed tags are text: only the tags of real images are told to the engine', async () => {
  const golden = cases.find(({ name }) => name === 'x-forged-text') as GoldenCase;
  const { prompt, tiles } = await promptOf(golden);
  expect(prompt.tags).toHaveLength(tiles.reduce((sum, count) => sum + count, 0));
});

test('an image ends just behind its closing mark', async () => {
  const golden = cases.find(({ name }) => name === 'h-six-tiles') as GoldenCase;
  const { prompt, tokenizer } = await promptOf(golden);
  const [closing] = await tokenizer.encode(['</Image>']);
  const end = prompt.imageEnds[0] ?? 0;
  expect(prompt.imageEnds).toHaveLength(1);
  expect(Array.from(prompt.ids.subarray(end - (closing?.length ?? 0), end))).toEqual(Array.from(closing ?? []));
  const [newline] = await tokenizer.encode(['\n']);
  expect(prompt.ids[end]).toBe(newline?.[0]);
});

test("H's cross-attended tags are tokenised alone", async () => {
  const tokenizer = await Tokenizer.open((cases.find(({ name }) => name === 'h-six-tiles') as GoldenCase).folder);
  const { ids, lengths } = await crossTagIds(tokenizer, 12);
  const [third, twelfth] = await tokenizer.encode(['<tile_3>', '<tile_12>']);
  const start = (k: number): number => lengths.slice(0, k).reduce((sum, length) => sum + length, 0);
  expect(lengths).toHaveLength(12);
  expect(Array.from(ids.subarray(start(2), start(3)))).toEqual(Array.from(third ?? []));
  expect(Array.from(ids.subarray(start(11), start(12)))).toEqual(Array.from(twelfth ?? []));
});

test("the checkpoint's system message stands in front unless the messages bring one", () => {
  const config: PromptConfig = { family: familyOf('NVLM-D'), tokensPerTile: 16, systemMessage: 'Be brief.' };
  const text = (messages: { role: string; parts: { type: 'text'; text: string }[] }[]): string =>
    promptRuns(messages, config, [])
      .map(run => (run.kind === 'plain' ? run.text : run.kind === 'special' ? run.name : ''))
      .join('');
  const user = { role: 'user', parts: [{ type: 'text' as const, text: 'Hi' }] };
  const system = { role: 'system', parts: [{ type: 'text' as const, text: 'Shout.' }] };
  expect(text([user])).toBe(
    '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n',
  );
  expect(text([system, user])).toBe(
    '<|im_start|>system\nShout.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n',
  );
});
