// The CUDA library end to end without a GPU: the three models through the emulator (test/native/emulator), against the CPU.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type LoadOptions, load, type Model } from 'nvlm';
import { failureOf } from './support/failure';
import { ask, bundled, emulator, evalFolder } from './support/models';
import { runProgram } from './support/run';

/** Not in the public type: it is there only where this variable names the library. */
process.env['NVLM_EMULATOR_LIBRARY'] = emulator;
const device = 'emulator' as 'cuda';
/** The least there is: a tile takes seconds here. */
const small: LoadOptions = { contextLength: 256, maxSequences: 1, maxImages: 1 };

/** Of three tiles and of one. How near logits come is cuda_golden_test's to judge. */
const subset = ['003', '014'];
const cases = readFileSync(join(evalFolder, 'cases.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map(line => JSON.parse(line) as { file: string; question: string; answer: string })
  .filter(({ file }) => subset.includes(file.slice(0, 3)));

async function rightAnswers(model: Model): Promise<string[]> {
  const right: string[] = [];
  for (const { file, question, answer } of cases) {
    const { text } = await model.generate({ messages: ask(join(evalFolder, file), question) });
    if (text === answer) right.push(file);
  }
  return right;
}

test.each(bundled)(
  '%s is right where it is on the CPU',
  async name => {
    await using onCpu = await load(name, { ...small, device: 'cpu' });
    await using emulated = await load(name, { ...small, device });
    expect(emulated.info.device).toBe('emulator');
    const [expected, got] = [await rightAnswers(onCpu), await rightAnswers(emulated)];
    expect(expected.length).toBeGreaterThanOrEqual(1);
    expect(got).toEqual(expected);
  },
  300_000,
);

test('two calls at once each get the answer they get alone', async () => {
  await using model = await load('nvlm-tiny-x', { contextLength: 256, maxSequences: 2, maxImages: 1, device });
  const [text, image] = [
    { messages: [{ role: 'user' as const, content: 'What is 2 + 3?' }] },
    { messages: ask(join(evalFolder, '053-colour.png'), 'What colour is the square?'), maxTokens: 3 },
  ];
  const alone = [(await model.generate(text)).text, (await model.generate(image)).text];
  const together = await Promise.all([model.generate(text), model.generate(image)]);
  expect(together.map(result => result.text)).toEqual(alone);
  expect(alone[0]).toBe('5');
}, 120_000);

test('a model can be closed and loaded again, and what it held is free again', async () => {
  const free: number[] = [];
  for (let i = 0; i < 3; i++) {
    await using model = await load('nvlm-tiny-d', { ...small, device });
    free.push(model.info.memory.free);
    expect(model.stats().memory.weights).toBe(model.info.memory.weights);
    expect((await model.generate({ messages: [{ role: 'user', content: 'What is 2 + 3?' }] })).text).toBe('5');
  }
  expect(free).toEqual([free[0], free[0], free[0]]);
}, 120_000);

test('an answer can be aborted, and the next one is right', async () => {
  await using model = await load('nvlm-tiny-d', { ...small, device });
  const messages = [{ role: 'user' as const, content: 'What is 2 + 3?' }];
  const error = await failureOf(() => model.generate({ messages, signal: AbortSignal.timeout(5) }));
  expect(error.code).toBe('aborted');
  expect((await model.generate({ messages })).text).toBe('5');
}, 120_000);

test('a model that does not fit is refused with the numbers, and what is said to fit does', async () => {
  const attempts = async (memory: number, options: LoadOptions[]): Promise<string[]> => {
    const { code, stdout, stderr } = await runProgram(
      `for (const options of ${JSON.stringify(options)}) {
        const load = nvlm.load('nvlm-tiny-d', { device: 'emulator', maxImages: 1, ...options });
        await load.then(model => model.close()).then(() => console.log('loaded'), ({ code, message }) => console.log(code, message));
      }`,
      [],
      { NVLM_EMULATOR_MEMORY: String(memory), NVLM_EMULATOR_LIBRARY: emulator },
    );
    expect([code, stderr]).toEqual([0, '']);
    return stdout.trim().split('\n');
  };
  const much = { maxSequences: 8, contextLength: 2048 };
  const [refusal = ''] = await attempts(40e6, [much]);
  const said =
    /^out-of-memory The model needs 5\d\.\d MB \(weights 13.* but only 40\.0 MB are free on emulator\. Load it with contextLength: (\d+) or maxSequences: (\d+), free memory, or use device: 'cpu'\.$/;
  expect(refusal).toMatch(said);
  const [contextLength = 0, maxSequences = 0] = said.exec(refusal)?.slice(1).map(Number) ?? [];
  const answers = await attempts(40e6, [
    { ...much, contextLength },
    { ...much, contextLength: contextLength + 64 },
    { ...much, maxSequences },
    { ...much, maxSequences: maxSequences + 1 },
  ]);
  expect(answers.map(answer => answer.split(' ')[0])).toEqual(['loaded', 'out-of-memory', 'loaded', 'out-of-memory']);
  expect(await attempts(22e6, [much])).toEqual([expect.stringMatching(/Load it with contextLength: \d+, free memory/)]);
  expect(await attempts(10e6, [much])).toEqual([
    expect.stringContaining('only 10.0 MB are free on emulator. Use a device with more memory'),
  ]);
}, 60_000);

test('a picture that the device has no memory for is cut by the CPU', async () => {
  const { code, stdout, stderr } = await runProgram(
    `const model = await nvlm.load('nvlm-tiny-d', { device: 'emulator', contextLength: 256, maxSequences: 1, maxImages: 1, maxTiles: 1 });
    const image = { data: new Uint8Array(3000 * 2000 * 3).fill(120), width: 3000, height: 2000, channels: 3 };
    if (model.info.memory.free - model.info.memory.total > image.data.length) throw new Error('The device has memory for it.');
    console.log((await model.encodeImage(image)).bytes > 0);
    console.log((await model.generate({ messages: [{ role: 'user', content: 'What is 2 + 3?' }] })).text);
    await model.close();`,
    [],
    { NVLM_EMULATOR_MEMORY: '24000000', NVLM_EMULATOR_LIBRARY: emulator },
  );
  expect([code, stdout, stderr]).toEqual([0, 'true\n5\n', '']);
}, 60_000);
