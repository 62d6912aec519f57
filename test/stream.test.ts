import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type GenerateResult, load, type Model, NvlmError, type StreamPart } from 'nvlm';
import { failureOf } from './support/failure';
import { ask, endless, evalFolder } from './support/models';
import { until } from './support/until';

const receipt = join(evalFolder, 'demo', 'receipt.png');
const sum = [{ role: 'user' as const, content: 'What is 2 + 3?' }];
const long = { messages: sum, maxTokens: 1900 };

let tiny: Model;
let forever: Model;
/** Milliseconds of a long call that nobody cancels. */
let fullLength = 0;
beforeAll(async () => {
  tiny = await load('nvlm-tiny-d');
  forever = await load(endless, { maxSequences: 1 });
  const started = performance.now();
  await forever.generate(long);
  fullLength = performance.now() - started;
});
afterAll(async () => {
  await tiny.close();
  await forever.close();
});

async function collect(
  stream: AsyncIterable<StreamPart>,
): Promise<{ text: string; result: GenerateResult | undefined; parts: number }> {
  let text = '';
  let parts = 0;
  let result: GenerateResult | undefined;
  for await (const part of stream) {
    expect(result).toBeUndefined();
    if (part.type === 'text') text += part.text;
    else result = part.result;
    parts++;
  }
  return { text, result, parts };
}

/** Waits until no call runs; a cancelled one ends long before it would have ended by itself. */
async function cancelledSoon(): Promise<void> {
  await until(() => {
    global.gc?.();
    return forever.stats().activeRequests === 0;
  }, fullLength / 2);
}

test('a stream yields the text piece by piece and at last the whole result', async () => {
  const { text, result, parts } = await collect(tiny.stream({ messages: ask(receipt, 'What is the total?') }));
  expect(text).toBe('$26.14');
  expect(result).toMatchObject({ text: '$26.14', finishReason: 'stop' });
  expect(parts).toBeGreaterThanOrEqual(2);
});

test('text comes while the answer is being made', async () => {
  const { parts } = await collect(forever.stream({ messages: sum, maxTokens: 1500 }));
  expect(parts).toBeGreaterThan(5);
});

test('parts carry the logprobs of their tokens when asked for, and only then', async () => {
  const ids: number[] = [];
  let result: GenerateResult | undefined;
  for await (const part of tiny.stream({ messages: sum, logprobs: true })) {
    if (part.type === 'text') ids.push(...(part.logprobs ?? []).map(({ id }) => id));
    else result = part.result;
  }
  expect(ids.length).toBeGreaterThan(0);
  expect(ids).toEqual(result?.tokens.slice(0, ids.length));
  for await (const part of tiny.stream({ messages: sum })) expect(part).not.toHaveProperty('logprobs');
});

test('work starts at the call, and a slow reader gets everything, joined', async () => {
  const stream = forever.stream({ messages: sum, maxTokens: 100 });
  expect((await forever.generate({ messages: sum, maxTokens: 1 })).tokens).toHaveLength(1);
  const { text, result, parts } = await collect(stream);
  expect(text).toBe('\n'.repeat(100));
  expect(result?.tokens).toHaveLength(100);
  expect(parts).toBe(2);
});

test('a stream can be read once', async () => {
  const stream = tiny.stream({ messages: sum });
  await collect(stream);
  expect((await failureOf(() => collect(stream))).code).toBe('stream-used');
});

test('break cancels the call', async () => {
  for await (const part of forever.stream(long)) {
    expect(part.type).toBe('text');
    break;
  }
  await cancelledSoon();
});

test('a throw in the loop cancels the call', async () => {
  const error = new Error('mine');
  await expect(
    (async () => {
      for await (const part of forever.stream(long)) {
        if (part.type === 'text') throw error;
      }
    })(),
  ).rejects.toBe(error);
  await cancelledSoon();
});

test('an aborted stream rejects, it never just ends', async () => {
  const controller = new AbortController();
  const reason = new Error('enough');
  let parts = 0;
  const error = await failureOf(async () => {
    for await (const _ of forever.stream({ ...long, signal: controller.signal })) {
      if (++parts === 3) controller.abort(reason);
    }
  });
  expect([error.code, error.cause]).toEqual(['aborted', reason]);
  await cancelledSoon();
});

test('a signal aborted before the call rejects too', async () => {
  const error = await failureOf(() => collect(forever.stream({ ...long, signal: AbortSignal.abort() })));
  expect(error.code).toBe('aborted');
});

test('cancel() rejects the reader', async () => {
  const stream = forever.stream(long);
  const pending = failureOf(() => collect(stream));
  await sleep(20);
  stream.cancel('because');
  expect([(await pending).code, (await pending).cause]).toEqual(['aborted', 'because']);
});

test('an unread stream that is collected is cancelled', async () => {
  if (global.gc === undefined) throw new Error('Run the tests with --expose-gc (npm run jest).');
  (() => void forever.stream(long))();
  await until(() => forever.stats().activeRequests === 1);
  await cancelledSoon();
  expect(forever.stats().activeRequests).toBe(0);
});

test('a stream that is read later keeps running under garbage collection', async () => {
  const stream = forever.stream({ messages: sum, maxTokens: 200 });
  for (let i = 0; i < 10; i++) {
    await sleep(2);
    global.gc?.();
  }
  expect((await collect(stream)).result?.tokens).toHaveLength(200);
});

test('overlapping reads settle in order, as those of an async generator do', async () => {
  const stream = forever.stream({ messages: sum, maxTokens: 30 });
  const order: number[] = [];
  const reads = Array.from({ length: 40 }, async (_, k) => {
    const { done, value } = await stream.next();
    order.push(k);
    return done ? 'done' : value.type;
  });
  const kinds = await Promise.all(reads);
  expect(order).toEqual(order.map((_, k) => k));
  const finish = kinds.indexOf('finish');
  expect(finish).toBeGreaterThan(0);
  expect(kinds).toEqual(kinds.map((_, k) => (k < finish ? 'text' : k === finish ? 'finish' : 'done')));
});

test('of overlapping reads the first rejects with the abort, and the others are done', async () => {
  const stream = forever.stream(long);
  const outcome = (read: Promise<unknown>): Promise<unknown> =>
    read.then(
      value => value,
      (error: unknown) => (NvlmError.is(error) ? error.code : error),
    );
  await stream.next();
  stream.cancel();
  const reads = [stream.next(), stream.next(), stream.return()].map(outcome);
  const over = { done: true, value: undefined };
  expect(await Promise.all(reads)).toEqual(['aborted', over, over]);
});

test('return() settles after the reads before it', async () => {
  const stream = forever.stream(long);
  await stream.next();
  const order: string[] = [];
  const reads = Array.from({ length: 2 }, (_, k) =>
    stream.next().then(
      ({ done }) => order.push(`${k} ${done ? 'done' : 'text'}`),
      (error: unknown) => order.push(`${k} ${NvlmError.is(error) ? error.code : 'error'}`),
    ),
  );
  const left = stream.return().then(({ done }) => order.push(`return ${done ? 'done' : 'open'}`));
  await Promise.all([...reads, left]);
  expect(order).toEqual(['0 aborted', '1 done', 'return done']);
  await cancelledSoon();
});

test('bad options are thrown at the call', () => {
  expect(() => forever.stream({ messages: sum, maxTokens: -1 })).toThrow(
    expect.objectContaining({ code: 'bad-option' }),
  );
});

test('a failure to come rejects the reader, and nobody else when there is none', async () => {
  const unread = forever.stream({ messages: ask('missing.png', 'x') });
  await sleep(50);
  expect((await failureOf(() => collect(unread))).code).toBe('file-not-found');
});
