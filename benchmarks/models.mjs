// The bundled models end to end, through the public API: what a user waits for.
//   node benchmarks/models.mjs [MODEL…] [--repeat 15] [--threads N] [--json FILE]
//
// Every answer is compared with what the reference implementation said; one that differs is printed without times, and the exit code is 1.
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bundledModels, load } from 'nvlm';
import { demoFolder, hardware, printHead, printRow, readOptions, spoken, summary, writeRecord } from './harness.mjs';

const options = readOptions(15);
const { names, repeat, threads } = options;
const cases = fs
  .readFileSync(new URL('cases.jsonl', demoFolder), 'utf8')
  .trim()
  .split('\n')
  .map(line => JSON.parse(line))
  // A tall picture of seven tiles with a short answer, and the longest answer there is.
  .filter(
    ({ file, question }) =>
      question === 'What is the total?' || (file === 'sign.png' && question === 'What does the text say?'),
  );

/** Milliseconds from the result's own timings, and what follows from them. */
const measures = {
  decodeImage: ({ timings }) => timings.decodeImage,
  cutTiles: ({ timings }) => timings.cutTiles,
  encodeTiles: ({ timings }) => timings.encodeTiles,
  prefill: ({ timings }) => timings.prefill,
  perToken: ({ timings }) => timings.perToken,
  tokensPerSecond: ({ timings }) => 1000 / timings.perToken,
  total: ({ timings }) => timings.total,
};
const head = [
  'model',
  'image',
  'tiles',
  'tokens',
  'decode image',
  'cut tiles',
  'encode tiles',
  'prefill',
  'ms/token',
  'tokens/s',
  'total ms',
];
const widths = [12, 12, 6, 9, 13, 13, 13, 13, 13, 13, 13];

const machine = { ...(await hardware()), ...(threads === undefined ? {} : { threads }) };
printHead('models', machine, options);
printRow(head, widths);
const results = [];
for (const name of names.length > 0 ? names : bundledModels()) {
  const model = await load(name, { threads });
  for (const { file, question, said } of cases) {
    const image = fileURLToPath(new URL(file, demoFolder));
    const content = [
      { type: 'image', image },
      { type: 'text', text: question },
    ];
    const ask = () => model.generate({ messages: [{ role: 'user', content }] });
    const { text, usage } = await ask(); // the first run is not counted: it loads code and touches memory
    const tokens = `${usage.promptTokens}+${usage.generatedTokens}`;
    if (text !== said[name]) {
      printRow(
        [name, file, '', '', `WRONG: said ${JSON.stringify(text)}, the reference ${JSON.stringify(said[name])}`],
        widths,
      );
      process.exitCode = 1;
      continue;
    }
    const runs = [];
    for (let i = 0; i < repeat; i++) runs.push(await ask());
    const times = Object.fromEntries(Object.entries(measures).map(([key, of]) => [key, summary(runs.map(of))]));
    const { tiles } = usage.images[0];
    printRow([name, file, tiles, tokens, ...Object.values(times).map(spoken)], widths);
    results.push({
      model: name,
      image: file,
      tiles,
      promptTokens: usage.promptTokens,
      generatedTokens: usage.generatedTokens,
      ...times,
    });
  }
  await model.close();
}
if (process.exitCode !== 1) writeRecord(options.json, { benchmark: 'models', machine, repeat, results });
