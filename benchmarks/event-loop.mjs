// How late the event loop is while the library works, beside the same loop idle for as long, in the same run.
//   node benchmarks/event-loop.mjs [MODEL] [--repeat 5] [--threads N] [--json FILE]
//
// test/event-loop.test.ts holds a limit; this shows the whole picture. Garbage collection and waiting for a core are in these numbers.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { load } from 'nvlm';
import sharp from 'sharp';
import { demoFolder, hardware, printHead, printRow, readOptions, spoken, summary, writeRecord } from './harness.mjs';

const options = readOptions(5);
const { names, repeat, threads } = options;
const [name = 'nvlm-tiny-d'] = names;

const receipt = fileURLToPath(new URL('receipt.png', demoFolder));
const large = sharp(receipt).resize(3000, 4000, { fit: 'fill' }).removeAlpha();
const photo = await large.clone().jpeg().toBuffer();
const pixels = { data: await large.raw().toBuffer(), width: 3000, height: 4000, channels: 3 };
const text = 'The quick brown fox jumps over the lazy dog, 12 times.\n'.repeat(1900);

const model = await load(name, { threads });
const ask = image => {
  const content = [
    { type: 'image', image },
    { type: 'text', text: 'What is the total?' },
  ];
  return model.generate({ messages: [{ role: 'user', content }] });
};
const work = {
  'a 100 KB prompt': () => model.countTokens({ messages: [{ role: 'user', content: text }] }),
  'a small image': () => ask(receipt),
  '12 megapixels of JPEG': () => ask(photo),
  '12 raw megapixels': () => ask(pixels),
  'four answers at once': () => Promise.all([receipt, receipt, receipt, receipt].map(ask)),
  'a load': async () => (await load(name, { threads })).close(),
};

/** Milliseconds by which timers of 1 ms came late while `run` ran. */
async function delays(run) {
  const histogram = monitorEventLoopDelay({ resolution: 1 });
  histogram.enable();
  const started = performance.now();
  await run();
  const took = performance.now() - started;
  // What the call did last shows only when a timer has come after it.
  await sleep(5);
  histogram.disable();
  const late = nanoseconds => Math.max(0, nanoseconds / 1e6 - 1);
  return { took, p99: late(histogram.percentile(99)), max: late(histogram.max) };
}

const machine = { ...(await hardware()), ...(threads === undefined ? {} : { threads }) };
printHead(`event loop, ${name}: milliseconds late`, machine, options);
const widths = [24, 12, 12, 12, 12, 12];
printRow(['work', 'took', 'p99', 'p99 idle', 'worst', 'worst idle'], widths);
const results = [];
for (const [what, run] of Object.entries(work)) {
  await run(); // not counted: it loads code
  const busy = [];
  const idle = [];
  for (let i = 0; i < repeat; i++) {
    busy.push(await delays(run));
    idle.push(await delays(() => sleep(busy[i].took)));
  }
  const of = (list, key) => summary(list.map(entry => entry[key]));
  const row = {
    took: of(busy, 'took'),
    p99: of(busy, 'p99'),
    p99Idle: of(idle, 'p99'),
    worst: of(busy, 'max'),
    worstIdle: of(idle, 'max'),
  };
  printRow([what, ...Object.values(row).map(spoken)], widths);
  results.push({ work: what, ...row });
}
await model.close();
writeRecord(options.json, { benchmark: 'event-loop', model: name, machine, repeat, results });
