// The answer as it comes, with a time limit. Ctrl-C ends it too.
//   node examples/stream.cjs test/eval/demo/sign.png "What does the text say?" [MODEL] [MILLISECONDS]
const { load, NvlmError } = require('nvlm');

const [image, question, name = 'nvlm-tiny-d', limit = '30000'] = process.argv.slice(2);

async function main() {
  const model = await load(name);
  const interrupt = new AbortController();
  process.once('SIGINT', () => interrupt.abort());
  const signal = AbortSignal.any([interrupt.signal, AbortSignal.timeout(Number(limit))]);
  const content = [
    { type: 'image', image },
    { type: 'text', text: question },
  ];
  try {
    for await (const part of model.stream({ messages: [{ role: 'user', content }], signal })) {
      if (part.type === 'text') process.stdout.write(part.text);
      else process.stdout.write(`\n(${part.result.finishReason}, ${part.result.usage.generatedTokens} tokens)\n`);
    }
  } catch (error) {
    // An aborted stream rejects, so that half an answer is never taken for a whole one.
    if (!NvlmError.is(error, 'aborted')) throw error;
    process.stdout.write('\n(stopped early)\n');
  } finally {
    await model.close();
  }
}

void main();
