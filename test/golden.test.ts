import { load } from 'nvlm';
import { goldenCases } from './support/golden';

test.each(goldenCases().map(golden => [golden.name, golden] as const))(
  '%s answers the golden ids through the public API',
  async (_, golden) => {
    await using model = await load(golden.folder);
    const { tokens, usage, finishReason } = await model.generate({ messages: golden.messages, maxTokens: 24 });
    expect(tokens).toEqual(golden.greedy_ids);
    expect(finishReason).toBe(golden.greedy_ids.length < 24 ? 'stop' : 'length');
    expect(usage.promptTokens).toBe(golden.input_ids.length);
    expect(usage.generatedTokens).toBe(golden.greedy_ids.length);
    expect(usage.images.map(({ columns, rows }) => [columns, rows])).toEqual(golden.grids);
  },
);
