// Asks each bundled model about the bundled images through the public API, and compares with what the reference implementation said.
import fs from 'node:fs';
import path from 'node:path';
import nvlm from '../dist/index.js';
import { inRoot } from './paths.mjs';

const folder = inRoot('test', 'eval', 'demo');
const cases = fs
  .readFileSync(path.join(folder, 'cases.jsonl'), 'utf8')
  .split('\n')
  .filter(Boolean)
  .map(line => JSON.parse(line));
const columns = { image: 13, question: 32, answer: 20, tiles: 8, tokens: 10, time: 8 };
let different = 0;

for (const name of Object.keys(cases[0].said)) {
  const started = performance.now();
  const model = await nvlm.load(name);
  const loaded = performance.now() - started;
  console.log(`\n${name}, ${model.info.architecture} on ${model.info.device}, loaded in ${loaded.toFixed(0)} ms`);
  printRow({ image: 'image', question: 'question', answer: 'answer', tiles: 'tiles', tokens: 'tokens', time: 'time' });
  for (const { file, question, said, answer } of cases) {
    const result = await model.generate({
      messages: [
        {
          role: 'user',
          content: [
            { type: 'image', image: path.join(folder, file) },
            { type: 'text', text: question },
          ],
        },
      ],
    });
    const [image] = result.usage.images;
    printRow({
      image: file,
      question,
      answer: result.text.replaceAll('\n', ' / '),
      tiles: `${image.tiles} (${image.columns}x${image.rows})`,
      tokens: `${result.usage.promptTokens} + ${result.usage.generatedTokens}`,
      time: `${result.timings.total.toFixed(0)} ms`,
      remark:
        result.text === said[name]
          ? said[name] === answer
            ? ''
            : `the image says ${answer.replaceAll('\n', ' / ')}`
          : `DIFFERS from the reference: ${said[name]}`,
    });
    if (result.text !== said[name]) different += 1;
  }
  await model.close();
}

console.log(
  '\nTiles: all tiles with the thumbnail (columns x rows of the grid). Tokens: prompt + answer. The models are tiny demonstrations.',
);
if (different > 0) {
  console.error(`demo: ${different} answers differ from the reference.`);
  process.exitCode = 1;
}

function printRow({ remark = '', ...row }) {
  const cells = Object.entries(columns).map(([name, width]) => String(row[name]).padEnd(width));
  console.log(`${cells.join(' ')} ${remark}`.trimEnd());
}
