import { join } from 'node:path';
import { load } from 'nvlm';
import { failureOf } from './support/failure';
import { ask, endless, evalFolder, picture } from './support/models';

const sum = [{ role: 'user' as const, content: 'What is 2 + 3?' }];

test('close rejects what is pending with closed, whatever it is doing', async () => {
  const model = await load(endless, { maxSequences: 1 });
  const pending = [
    failureOf(() => model.generate({ messages: sum, maxTokens: 1900 })),
    failureOf(() => model.generate({ messages: sum, maxTokens: 1900 })),
    failureOf(() => model.generate({ messages: ask(picture, 'x'), maxTokens: 1900 })),
    failureOf(() => model.encodeImage(join(evalFolder, 'demo', 'receipt.png'))),
    failureOf(() => model.tokenize('word '.repeat(20_000))),
    failureOf(async () => {
      for await (const _ of model.stream({ messages: sum, maxTokens: 1900 }));
    }),
  ];
  await model.close();
  expect((await Promise.all(pending)).map(({ code }) => code)).toEqual(pending.map(() => 'closed'));
});

test('after close every call is refused with closed, and closing again is fine', async () => {
  const model = await load('nvlm-tiny-d');
  const image = await model.encodeImage(picture);
  await Promise.all([model.close(), model.close()]);
  await model.close();
  for (const call of [
    () => model.generate({ messages: sum }),
    () => model.stream({ messages: sum }),
    () => model.encodeImage(picture),
    () => model.tokenize('x'),
    () => model.detokenize([1]),
    () => model.countTokens({ messages: sum }),
    () => model.stats(),
  ]) {
    expect((await failureOf(call)).code).toBe('closed');
  }
  image.release();
  expect(model.info.name).toBe('nvlm-tiny-d');
});

test('await using closes at the end of the block', async () => {
  let kept;
  {
    await using model = await load('nvlm-tiny-d');
    kept = model;
  }
  expect((await failureOf(() => kept.tokenize('x'))).code).toBe('closed');
});

test('a model that is forgotten while it answers still answers', async () => {
  const stream = await (async () => (await load(endless)).stream({ messages: sum, maxTokens: 300 }))();
  for (let i = 0; i < 10; i++) {
    await new Promise(resolve => setTimeout(resolve, 2));
    global.gc?.();
  }
  let text = '';
  for await (const part of stream) if (part.type === 'text') text += part.text;
  expect(text).toHaveLength(300);
});
