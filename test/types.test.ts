// What the types promise. tsc checks this file (npm run typecheck); a wrong type fails there, not when jest runs it.
import { expectTypeOf } from 'expect-type';
import {
  type Device,
  devices,
  type EncodedImage,
  type GenerateResult,
  load,
  type LoadOptions,
  type Message,
  type Model,
  NvlmError,
  type NvlmErrorCode,
  type StreamPart,
  type TextStream,
} from 'nvlm';

/** Never called: its body only has to compile. */
async function uses(model: Model, handle: EncodedImage, error: unknown): Promise<void> {
  expectTypeOf(load).returns.resolves.toEqualTypeOf<Model>();
  expectTypeOf(model.generate).returns.resolves.toEqualTypeOf<GenerateResult>();
  expectTypeOf(model.stream).returns.toEqualTypeOf<TextStream>();
  expectTypeOf(model.tokenize).returns.resolves.toEqualTypeOf<number[]>();
  expectTypeOf(model.detokenize).returns.toEqualTypeOf<string>();
  expectTypeOf(devices).returns.resolves.toEqualTypeOf<Device[]>();
  expectTypeOf<LoadOptions['device']>().toEqualTypeOf<'auto' | 'cpu' | 'cuda' | `cuda:${number}` | undefined>();
  expectTypeOf(model.info.instructionSet).toEqualTypeOf<string | null>();

  // Every public result is typed to its last field.
  const result = await model.generate({ messages: [{ role: 'user', content: 'Hello' }] });
  expectTypeOf(result.text).toEqualTypeOf<string>();
  expectTypeOf(result.finishReason).toEqualTypeOf<'stop' | 'length'>();
  expectTypeOf(result.usage.promptTokens).toEqualTypeOf<number>();
  expectTypeOf(result.usage.images[0]?.tiles).toEqualTypeOf<number | undefined>();
  expectTypeOf(result.timings.prefill).toEqualTypeOf<number>();
  expectTypeOf(result.logprobs?.[0]?.top[0]?.logprob).toEqualTypeOf<number | undefined>();

  // A stream is an async iterable of a discriminated union.
  for await (const part of model.stream({ messages: [] })) {
    expectTypeOf(part).toEqualTypeOf<StreamPart>();
    if (part.type === 'text') expectTypeOf(part.text).toEqualTypeOf<string>();
    else expectTypeOf(part.result).toEqualTypeOf<GenerateResult>();
  }

  // Every form an image may have.
  const images = [
    'photo.jpg',
    new URL('file:///photo.jpg'),
    Buffer.alloc(1),
    new Uint8Array(1),
    new ArrayBuffer(1),
    new Blob([]),
    { data: new Uint8Array(3), width: 1, height: 1, channels: 3 as const },
    handle,
  ];
  for (const image of images)
    await model.generate({ messages: [{ role: 'user', content: [{ type: 'image', image }] }] });
  expectTypeOf(await model.encodeImage('photo.jpg')).toEqualTypeOf<EncodedImage>();

  // Messages can be kept as constants.
  const history = [{ role: 'user', content: [{ type: 'text', text: 'Hello' }] }] as const satisfies readonly Message[];
  await model.generate({ messages: history });

  // Errors narrow, and their codes are literals.
  if (NvlmError.is(error)) expectTypeOf(error.code).toEqualTypeOf<NvlmErrorCode>();
  if (NvlmError.is(error, 'aborted')) expectTypeOf(error.code).toExtend<'aborted'>();
  expectTypeOf<NvlmErrorCode>().not.toEqualTypeOf<string>();

  await using other = await load('nvlm-tiny-d');
  expectTypeOf(other).toEqualTypeOf<Model>();
}

async function misuses(model: Model): Promise<void> {
  // @ts-expect-error messages are needed
  await model.generate({});
  // @ts-expect-error a misspelt option
  await model.generate({ messages: [], maxToken: 5 });
  // @ts-expect-error an unknown role
  await model.generate({ messages: [{ role: 'tool', content: '' }] });
  // @ts-expect-error an unknown part
  await model.generate({ messages: [{ role: 'user', content: [{ type: 'image_url', url: '' }] }] });
  // @ts-expect-error raw pixels have 1 to 4 channels
  await model.encodeImage({ data: new Uint8Array(5), width: 1, height: 1, channels: 5 });
  // @ts-expect-error a misspelt load option
  await load('nvlm-tiny-d', { thread: 2 });
  // @ts-expect-error an unknown code
  NvlmError.is(undefined, 'no-such-code');
}

test('the types hold (checked by tsc)', () => {
  expect(typeof uses).toBe('function');
  expect(typeof misuses).toBe('function');
});
