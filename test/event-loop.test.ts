import { runProgram } from './support/run';

/** Milliseconds for which the event loop was not there: what a timer of 1 ms was late by, at worst, and how often it was by over 5 ms. */
interface Delay {
  worst: number;
  late: number;
}

/**
 * One thread of the engine leaves a core to the event loop, so that what is measured is our own blocking and not the scheduler's choice. The
 * idle delay is measured in the same process, for as long.
 */
const program = `
  const sharp = require('sharp');
  const watch = () => {
    let last = performance.now(), worst = 0, late = 0, on = true;
    const tick = () => {
      const now = performance.now(), by = now - last - 1;
      last = now;
      worst = Math.max(worst, by);
      if (by > 5) late++;
      if (on) setTimeout(tick, 1);
    };
    setTimeout(tick, 1);
    return () => { on = false; return { worst, late }; };
  };
  const photo = await sharp({ create: { width: 4000, height: 3000, channels: 3, noise: { type: 'gaussian', mean: 128, sigma: 40 } } }).jpeg().toBuffer();
  const text = 'The quick brown fox jumps over the lazy dog, 12 times.\\n'.repeat(1900);
  const model = await nvlm.load('nvlm-tiny-d', { threads: 1 });
  const work = {
    text: () => model.countTokens({ messages: [{ role: 'user', content: text }] }),
    image: () => model.generate({ messages: [{ role: 'user', content: [{ type: 'image', image: photo }, { type: 'text', text: 'Describe the image.' }] }] }),
    load: async () => (await nvlm.load('nvlm-tiny-x', { threads: 1 })).close(),
  };
  for (const run of Object.values(work)) await run();
  const result = {};
  for (const [name, run] of Object.entries(work)) {
    const stop = watch();
    const started = performance.now();
    await run();
    const took = performance.now() - started;
    const busy = stop();
    const stopIdle = watch();
    await new Promise(resolve => setTimeout(resolve, took));
    result[name] = { busy, idle: stopIdle(), took };
  }
  result.bytes = text.length;
  console.log(JSON.stringify(result));
  await model.close();`;

test('a 100 KB prompt, a 12-megapixel image and a load block the event loop for a few milliseconds at most', async () => {
  const { code, stdout, stderr } = await runProgram(program);
  expect([code, stderr]).toEqual([0, '']);
  const { bytes, ...work } = JSON.parse(stdout) as Record<string, { busy: Delay; idle: Delay; took: number }> & { bytes: number };
  expect(bytes).toBeGreaterThan(100_000);
  for (const [name, { busy, idle, took }] of Object.entries(work)) {
    // Ten milliseconds over the idle machine's worst; the work itself takes hundreds.
    expect([name, took, busy.worst - idle.worst < 10 ? 'never blocked' : `${busy.worst} ms against ${idle.worst} ms idle`]).toEqual([
      name,
      took,
      'never blocked',
    ]);
  }
});
