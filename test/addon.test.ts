/** The addon, called as lib/ never calls it: whatever a program does, it gets an answer, and the process lives. */

import { join } from 'node:path';
import { endless, root } from './support/models';
import { runNode, type Finished } from './support/run';

/** Runs the body of an async function with the addon, options that load a model, and values that are nasty to throw. */
function runAddon(body: string, flags: string[] = []): Promise<Finished> {
  const options = {
    folder: endless,
    device: 'cpu',
    cudaLibrary: '',
    threads: 1,
    maxTiles: 0,
    contextLength: 0,
    maxSequences: 1,
    maxImages: 1,
  };
  const program = `
    const addon = require(${JSON.stringify(join(root, 'node_modules', 'node-gyp-build'))})(${JSON.stringify(root)});
    const options = ${JSON.stringify(options)};
    const throwingProxy = new Proxy({}, { has() { throw null; }, get() { throw null; } });
    const proxyThatThrowsItself = new Proxy({}, { has: () => true, get(_, key, self) { throw self; } });
    const nasty = [null, undefined, 5, Symbol('thrown'), new Error('thrown'), throwingProxy, proxyThatThrowsItself];
    (async () => {\n${body}\n})();`;
  return runNode([...flags, '-e', program]);
}

const survived = (stdout: string) => ({ code: 0, signal: null, stdout: `${stdout}\n`, stderr: '' });

test('a getter or proxy that throws, null too, makes a call answer a failure', async () => {
  const result = await runAddon(`
    const codes = new Set();
    const engine = addon.createEngine(options, () => {});
    for (const thrown of nasty) {
      const getter = Object.defineProperty({ ...options }, 'folder', { get() { throw thrown; } });
      const proxy = new Proxy({}, { get() { throw thrown; } });
      const list = Object.defineProperty([1], 0, { get() { throw thrown; } });
      codes.add(addon.createEngine(getter, () => {}).code).add(addon.createEngine(proxy, () => {}).code);
      codes.add(engine.submit(proxy).code).add(engine.encode(proxy).code).add(engine.submit({ ids: new Int32Array(1), images: list }).code);
      for (const value of [getter, proxy]) await new Promise(resolve => addon.inspect(value, ({ code }) => resolve(codes.add(code))));
      await new Promise(resolve => addon.cutTiles(proxy, 8, true, ({ code }) => resolve(codes.add(code))));
    }
    engine.close();
    console.log(...codes);`);
  expect(result).toEqual(survived('internal'));
});

test('what a callback throws, null too, is an uncaught exception', async () => {
  const result = await runAddon(`
    let uncaught = 0;
    process.on('uncaughtException', () => uncaught++);
    for (const thrown of nasty) {
      await new Promise(resolve => addon.inspect(options, () => { resolve(); throw thrown; }));
      await new Promise(resolve => addon.cutTiles({}, 8, true, () => { resolve(); throw thrown; }));
      await new Promise(resolve => {
        const engine = addon.createEngine(options, events => {
          if (events.some(({ type }) => type === 'loaded')) engine.close();
          if (!events.some(({ type }) => type === 'closed')) return;
          resolve();
          throw thrown;
        });
      });
    }
    await new Promise(resolve => setTimeout(resolve, 20));
    console.log(uncaught === 3 * nasty.length);`);
  expect(result).toEqual(survived('true'));
});

test('a method called on another object answers a failure', async () => {
  const result = await runAddon(`
    // An object that another addon wraps: what it points to is no engine.
    const { Compiler } = require(${JSON.stringify(join(root, 'node_modules', '@swc', 'core', 'binding.js'))});
    const engine = addon.createEngine(options, () => {});
    const codes = new Set();
    for (const name of ['setVocabulary', 'submit', 'encode', 'release', 'cancel', 'stats', 'ref', 'close']) {
      for (const other of [undefined, null, 5, {}, [], () => {}, Object.create(engine), new Proxy(engine, {}), addon, new Map(), new Compiler()]) {
        codes.add(engine[name].call(other)?.code);
      }
    }
    engine.close();
    console.log(...codes);`);
  expect(result).toEqual(survived('internal'));
});

test('missing and mistyped arguments are answered, not obeyed', async () => {
  const result = await runAddon(`
    const engine = addon.createEngine(options, () => {});
    const codes = [addon.createEngine(), addon.createEngine(options), engine.submit(), engine.encode(), engine.setVocabulary()].map(({ code }) => code);
    for (const value of [undefined, NaN, -1, 1e300, {}, 'x']) for (const name of ['release', 'cancel', 'ref']) codes.push(engine[name](value));
    codes.push(addon.inspect(), addon.inspect(options, 5), addon.cutTiles(), addon.devices(), addon.devices('', 5));
    codes.push(await new Promise(resolve => addon.devices(5, ({ code }) => resolve(code))));
    engine.close();
    engine.close();
    console.log(...new Set(codes), engine.submit({ ids: new Int32Array(1) }).code);`);
  expect(result).toEqual(survived('internal undefined internal'));
});

test('a script that its timeout ends inside a getter gets its error', async () => {
  const result = await runAddon(`
    try {
      require('node:vm').runInNewContext('create({ get folder() { for (;;); } }, () => {})', { create: addon.createEngine }, { timeout: 30 });
    } catch ({ code }) { console.log(code); }`);
  expect(result).toEqual(survived('ERR_SCRIPT_EXECUTION_TIMEOUT'));
});

test.each([
  ['a getter', 'addon.createEngine({ get folder() { forEver(); } }, () => {})'],
  ["inspect's callback", 'addon.inspect(options, forEver)'],
  ["cutTiles' callback", 'addon.cutTiles({}, 8, true, forEver)'],
  ['an event', 'addon.createEngine(options, forEver)'],
])('a worker that is terminated inside %s ends cleanly', async (_, call) => {
  const result = await runAddon(`
    const { Worker } = require('node:worker_threads');
    const source = 'const addon = require("node-gyp-build")(' + ${JSON.stringify(JSON.stringify(root))} + '); const options = ' + JSON.stringify(options) + ';' +
      'const forEver = () => { require("node:worker_threads").parentPort.postMessage("here"); for (;;); };' + ${JSON.stringify(call)};
    for (let i = 0; i < 3; i++) {
      const worker = new Worker(source, { eval: true });
      await new Promise((resolve, reject) => { worker.once('message', resolve); worker.once('error', reject); });
      await worker.terminate();
    }
    console.log('done');`);
  expect(result).toEqual(survived('done'));
});

test('an engine that nobody holds ends its threads, idle and in the middle of an answer', async () => {
  const result = await runAddon(
    `
    const threads = () => require('node:fs').readdirSync('/proc/self/task').length;
    const pause = () => new Promise(resolve => setTimeout(resolve, 2));
    const none = new Int32Array(0);
    const sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, seed: 0, topLogprobs: -1 };
    const request = {
      ids: Int32Array.of(5, 6, 7), images: [], slots: none, tags: [], imageEnds: none, tileTagIds: none, tileTagLengths: none,
      maxTokens: 2000, stopIds: none, stopStrings: [], sampling,
    };
    // The listener must not reach the engine, or it would hold it.
    const start = async busy => {
      const heard = [];
      const engine = addon.createEngine({ ...options, folder: ${JSON.stringify(join(root, 'models', 'nvlm-tiny-d'))} }, events => heard.push(...events));
      while (!heard.some(({ type }) => type === 'loaded')) await pause();
      if (busy) {
        const { vocabSize } = heard.find(({ type }) => type === 'loaded').description;
        engine.setVocabulary(Buffer.alloc(vocabSize, 'a'), Int32Array.from({ length: vocabSize + 1 }, (_, i) => i));
        engine.submit(request);
        while (!heard.some(({ type }) => type === 'text')) await pause();
      }
      return heard;
    };
    const before = threads();
    for (const busy of [false, true, false, true]) {
      const heard = await start(busy);
      const started = threads() > before;
      // The last event comes a turn of the loop after the thread is gone.
      const over = () => threads() === before && heard.at(-1).type === 'closed';
      for (let i = 0; i < 500 && !over(); i++) { gc(); await pause(); }
      const last = heard.slice(-2).map(({ type, code }) => code ?? type);
      console.log(started, threads() === before, busy ? last.join() : last.at(-1));
      if (threads() > before) process.exit(1);
    }`,
    ['--expose-gc'],
  );
  expect(result).toEqual(
    survived(
      ['idle', 'busy', 'idle', 'busy']
        .map(how => `true true ${how === 'idle' ? 'closed' : 'closed,closed'}`)
        .join('\n'),
    ),
  );
});
