import { endless, picture } from './support/models';
import { runProgram } from './support/run';

const sum = `[{ role: 'user', content: 'What is 2 + 3?' }]`;
const withImage = `[{ role: 'user', content: [{ type: 'image', image: ${JSON.stringify(picture)} }] }]`;
const loadEndless = `nvlm.load(${JSON.stringify(endless)})`;

/** Where a program is when it ends; each snippet leaves work running. */
const moments: [string, string][] = [
  ['load', `nvlm.load('nvlm-tiny-x').catch(() => {});`],
  ['image decoding', `const model = await ${loadEndless}; model.generate({ messages: ${withImage} }).catch(() => {});`],
  [
    'prefill',
    `const model = await ${loadEndless}; const image = await model.encodeImage(${JSON.stringify(picture)});
     model.generate({ messages: [{ role: 'user', content: [{ type: 'image', image }, { type: 'text', text: 'a '.repeat(400) }] }] }).catch(() => {});
     await new Promise(resolve => setTimeout(resolve, 5));`,
  ],
  [
    'decode',
    `const model = await ${loadEndless}; const stream = model.stream({ messages: ${sum}, maxTokens: 1900 });
     await stream.next();`,
  ],
  [
    'a long text in the thread',
    `const model = await ${loadEndless}; model.tokenize('word '.repeat(20000)).catch(() => {});`,
  ],
  ['close', `const model = await ${loadEndless}; void model.close();`],
];

test.each(moments)('process.exit() during %s is clean', async (_, body) => {
  expect(await runProgram(`${body}\nprocess.exit(7);`)).toEqual({ code: 7, signal: null, stdout: '', stderr: '' });
});

test.each(moments)('an uncaught throw during %s ends the process as it should', async (_, body) => {
  const { code, signal, stderr } = await runProgram(`${body}\nprocess.nextTick(() => { throw new Error('mine'); });`);
  expect([code, signal]).toEqual([1, null]);
  expect(stderr).toContain('Error: mine');
});

test.each(moments)('worker.terminate() during %s is clean', async (_, body) => {
  const program = `
    const { Worker } = require('node:worker_threads');
    const source = ${JSON.stringify(`const nvlm = require('PACKAGE'); (async () => { ${body} require('node:worker_threads').parentPort.postMessage('now'); })();`)};
    for (let i = 0; i < 3; i++) {
      const worker = new Worker(source.replace('PACKAGE', require.resolve('./dist/index.js')), { eval: true });
      await new Promise((resolve, reject) => { worker.once('message', resolve); worker.once('error', reject); });
      await worker.terminate();
    }
    console.log('done');`;
  expect(await runProgram(program)).toEqual({ code: 0, signal: null, stdout: 'done\n', stderr: '' });
});

test('a program that forgets close() still exits', async () => {
  const { code, stdout } = await runProgram(`
    const model = await nvlm.load('nvlm-tiny-d');
    console.log((await model.generate({ messages: ${sum} })).text);
    await model.tokenize('word '.repeat(1000));
    globalThis.kept = model;`);
  expect([code, stdout]).toEqual([0, '5\n']);
});

test('a program waits for an answer that nothing else keeps it alive for', async () => {
  const { code, stdout } = await runProgram(`
    const model = await nvlm.load(${JSON.stringify(endless)});
    model.generate({ messages: ${sum}, maxTokens: 200 }).then(({ tokens }) => console.log(tokens.length));`);
  expect([code, stdout]).toEqual([0, '200\n']);
});

test('the library prints nothing', async () => {
  const { stdout, stderr } = await runProgram(`
    const model = await nvlm.load('nvlm-tiny-h');
    await model.generate({ messages: ${withImage} });
    await model.close();`);
  expect([stdout, stderr]).toEqual(['', '']);
});
