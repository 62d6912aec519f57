import { runProgram } from './support/run';

// The young generation stays at its least size: V8 would otherwise reserve up to 30 MB more for it in the course of a test, filled or not.
const flags = ['--expose-gc', '--max-semi-space-size=1'];

/** Megabytes resident after everything that can be collected was. */
const resident = `
  const resident = async () => {
    for (let i = 0; i < 5; i++) { global.gc(); await new Promise(resolve => setTimeout(resolve, 10)); }
    return process.memoryUsage().rss / 1e6;
  };`;

test('100 loads and closes leave memory flat', async () => {
  const { code, stdout, stderr } = await runProgram(
    `${resident}
    const sizes = [];
    for (let i = 1; i <= 100; i++) {
      const model = await nvlm.load(['nvlm-tiny-d', 'nvlm-tiny-x', 'nvlm-tiny-h'][i % 3]);
      await model.close();
      if (i % 20 === 0) sizes.push(await resident());
    }
    console.log(JSON.stringify(sizes));`,
    flags,
  );
  expect([code, stderr]).toEqual([0, '']);
  const sizes = JSON.parse(stdout) as number[];
  // One model takes 40 MB: a leak of one in ten would show. What is left is the allocator's own slack.
  expect((sizes[4] ?? 0) - (sizes[0] ?? 0)).toBeLessThan(20);
});

test('1,000 generations leave memory flat', async () => {
  const { code, stdout, stderr } = await runProgram(
    `${resident}
    const model = await nvlm.load('nvlm-tiny-x');
    const raw = { data: new Uint8Array(224 * 112 * 3).fill(120), width: 224, height: 112, channels: 3 };
    const sizes = [];
    for (let i = 1; i <= 1000; i++) {
      const content = i % 10 === 0 ? [{ type: 'image', image: raw }, { type: 'text', text: 'What colour is the circle?' }] : 'What is 2 + 3?';
      const stream = model.stream({ messages: [{ role: 'user', content }], maxTokens: 4 });
      if (i % 7 === 0) { await stream.next(); await stream.return(); }
      else for await (const part of stream);
      if (i % 200 === 0) sizes.push(await resident());
    }
    console.log(JSON.stringify(sizes));
    await model.close();`,
    flags,
  );
  expect([code, stderr]).toEqual([0, '']);
  const sizes = JSON.parse(stdout) as number[];
  // 800 generations between the first and the last: 10 KB each would be 8 MB.
  expect((sizes[4] ?? 0) - (sizes[0] ?? 0)).toBeLessThan(8);
});
