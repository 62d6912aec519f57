import { endless } from './support/models';
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
}, 240_000);

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
}, 240_000);

test('V8 is told the bytes of an encoded image, and told of their end when it is released, collected or its model closed', async () => {
  // process.memoryUsage().external counts array buffers alone; what addons report stands in V8's own account of each collection.
  const { code, stdout, stderr } = await runProgram(
    `const image = { data: new Uint8Array(448 * 448 * 3).fill(120), width: 448, height: 448, channels: 3 };
    const settle = async name => {
      for (let i = 0; i < 5; i++) { global.gc(); await new Promise(resolve => setTimeout(resolve, 10)); }
      console.log('now', name);
    };
    const model = await nvlm.load('nvlm-tiny-d');
    (await model.encodeImage(image)).release();
    await settle('at first');
    const first = await model.encodeImage(image);
    await settle('one');
    const forget = async () => { const second = await model.encodeImage(image); await settle('two'); return second.bytes; };
    await forget();
    await settle('one left');
    first.release();
    await settle('none');
    const last = await model.encodeImage(image);
    await settle('one again');
    await model.close();
    last.release();
    await settle('closed');
    console.log('bytes', last.bytes);`,
    ['--expose-gc', '--trace-gc-verbose'],
  );
  expect([code, stderr]).toEqual([0, '']);
  const reported: Record<string, number> = {};
  let kilobytes = 0;
  for (const line of stdout.split('\n')) {
    kilobytes = Number(/External memory reported: *(-?\d+) KB/.exec(line)?.[1] ?? kilobytes);
    const name = /^now (.*)$/.exec(line)?.[1];
    if (name !== undefined) reported[name] = kilobytes;
  }
  const handle = Number(/^bytes (\d+)$/m.exec(stdout)?.[1]) / 1024;
  expect(handle).toBeGreaterThan(16);
  const handles = Object.entries(reported).map(([name, size]) => [
    name,
    Math.round((size - (reported['at first'] ?? NaN)) / handle),
  ]);
  expect(Object.fromEntries(handles)).toEqual({
    'at first': 0,
    one: 1,
    two: 2,
    'one left': 1,
    none: 0,
    'one again': 1,
    closed: 0,
  });
});

test('models that nobody holds end their threads and give their memory back, idle and in the middle of an answer', async () => {
  const { code, stdout, stderr } = await runProgram(
    `const threads = () => require('node:fs').readdirSync('/proc/self/task').length;
    const messages = [{ role: 'user', content: 'What is 2 + 3?' }];
    const endless = ${JSON.stringify(endless)};
    const start = {
      idle: async () => { await nvlm.load('nvlm-tiny-x'); },
      answering: async () => { await (await nvlm.load(endless, { contextLength: 2048 })).stream({ messages, maxTokens: 1900 }).next(); },
    };
    await (await nvlm.load('nvlm-tiny-x')).close();
    const before = threads();
    const sizes = [];
    for (let i = 0; i < 12; i++) {
      await start[i % 2 === 0 ? 'idle' : 'answering']();
      if (threads() <= before) throw new Error('The model had no thread of its own.');
      for (let i = 0; i < 500 && threads() > before; i++) { global.gc(); await new Promise(resolve => setTimeout(resolve, 5)); }
      if (threads() > before) throw new Error('The threads are still there.');
      sizes.push(process.memoryUsage().rss / 1e6);
    }
    console.log(JSON.stringify(sizes));`,
    flags,
  );
  expect([code, stderr]).toEqual([0, '']);
  const sizes = JSON.parse(stdout) as number[];
  // One model takes 30 to 40 MB.
  expect(Math.max(...sizes.slice(8)) - Math.max(...sizes.slice(0, 4))).toBeLessThan(20);
});
