import { setTimeout as sleep } from 'node:timers/promises';
import { load, NvlmError, type Model } from 'nvlm';
import { ask, bundled, picture } from './support/models';
import { until } from './support/until';

const side = 112; // of a tile of the bundled models

/** 12 tiles and a thumbnail, and nothing to resize: almost all of its time is the encoder's. */
const wide = (shade: number) => ({
  data: Uint8Array.from({ length: 4 * side * 3 * side * 3 }, (_, i) => (i * shade) % 251),
  width: 4 * side,
  height: 3 * side,
  channels: 3 as const,
});
type Messages = Parameters<Model['generate']>[0]['messages'];
const images: Messages = [
  {
    role: 'user',
    content: [
      ...[3, 5, 7, 11].map(shade => ({ type: 'image' as const, image: wide(shade) })),
      { type: 'text', text: 'What?' },
    ],
  },
];
/** Four prompts of seven steps each. */
const prompts: Messages[] = Array.from({ length: 4 }, (_, i) => [
  { role: 'user', content: `${i}: ${'Read this. '.repeat(200)}` },
]);
const about = ask(picture, 'What is this?');

/**
 * Aborts these calls together `after` milliseconds. Answers how long the engine then needed for the next call, in milliseconds, or undefined when
 * half of the calls were through by then. Either way the next answer must be right, and nothing may be left behind.
 */
async function interrupt(
  model: Model,
  calls: readonly Messages[],
  after: number,
  next: number[],
): Promise<number | undefined> {
  const before = model.stats();
  const controller = new AbortController();
  const reason = new Error('enough');
  const pending = calls.map(messages =>
    model.generate({ messages, maxTokens: 4, signal: controller.signal }).catch((error: unknown) => error),
  );
  await sleep(after);
  controller.abort(reason);
  const aborted = performance.now();
  const outcomes = await Promise.all(pending);
  const answer = await model.generate({ messages: about, maxTokens: 12 });
  const freed = performance.now() - aborted;
  expect(answer.tokens).toEqual(next);
  await until(() => model.stats().activeRequests === 0);
  expect(model.stats().memory).toEqual(before.memory);
  expect(model.stats().images).toBe(before.images);
  const errors = outcomes.filter(outcome => NvlmError.is(outcome));
  for (const error of errors) expect([error.code, error.cause]).toEqual(['aborted', reason]);
  return errors.length > calls.length / 2 ? freed : undefined;
}

describe.each(bundled)('%s', name => {
  let model: Model;
  let next: number[]; // what the call after the aborted ones must say
  let alone: number; // milliseconds it takes
  beforeAll(async () => {
    model = await load(name, { maxTiles: 12, maxSequences: prompts.length });
    next = (await model.generate({ messages: about, maxTokens: 12 })).tokens;
    alone = (await model.generate({ messages: about, maxTokens: 12 })).timings.total;
  });
  afterAll(() => model.close());

  test('a call aborted while its images are encoded frees the engine at once', async () => {
    const { timings, usage } = await model.generate({ messages: images, maxTokens: 4 });
    expect(usage.images.map(({ tiles }) => tiles)).toEqual([13, 13, 13, 13]);
    let soonest = Infinity;
    for (let trial = 0; trial < 6 && soonest > timings.encodeTiles / 2; trial++) {
      const before = model.stats().encodedTiles;
      const freed = await interrupt(
        model,
        [images],
        timings.decodeImage + timings.cutTiles + timings.encodeTiles / 8,
        next,
      );
      // Only an encoder that was stopped has not counted the tiles of the aborted call; those of the next one are 7.
      if (freed !== undefined && model.stats().encodedTiles === before + 7) soonest = Math.min(soonest, freed - alone);
    }
    expect(soonest).toBeLessThan(timings.encodeTiles / 2);
  });

  test('calls aborted while their prompts are read free the engine at once', async () => {
    const started = performance.now();
    const answers = await Promise.all(prompts.map(messages => model.generate({ messages, maxTokens: 4 })));
    const whole = performance.now() - started;
    for (const { usage } of answers) expect(usage.promptTokens).toBeGreaterThan(6 * 256);
    let soonest = Infinity;
    for (let trial = 0; trial < 6 && soonest > whole / 2; trial++) {
      const freed = await interrupt(model, prompts, whole / 8, next);
      if (freed !== undefined) soonest = Math.min(soonest, freed - alone);
    }
    expect(soonest).toBeLessThan(whole / 2);
  });
});
