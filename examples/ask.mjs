// One question about one image.
//   node examples/ask.mjs test/eval/demo/receipt.png "What is the total?" [MODEL]
import { load, NvlmError } from 'nvlm';

const [image, question, name = 'nvlm-tiny-d'] = process.argv.slice(2);

const model = await load(name);
try {
  const answer = await model.generate({
    messages: [
      {
        role: 'user',
        content: [
          { type: 'image', image },
          { type: 'text', text: question },
        ],
      },
    ],
  });
  console.log(answer.text);

  const [{ columns, rows, tiles }] = answer.usage.images;
  const { promptTokens, generatedTokens } = answer.usage;
  console.log(
    `${columns}x${rows} grid, ${tiles} tiles, ${promptTokens} + ${generatedTokens} tokens, ${answer.timings.total.toFixed(0)} ms`,
  );
} catch (error) {
  // Everything that can go wrong has a stable code and a message that says what to do. See docs/errors.md.
  if (!NvlmError.is(error)) throw error;
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = 1;
} finally {
  await model.close();
}
