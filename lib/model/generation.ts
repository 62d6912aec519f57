/** One call of generate or stream: its options, its way to the engine, and what has come of it so far. */

import { randomInt } from 'node:crypto';
import { asObject, checkKeys, optionalBoolean, optionalNumber, optionalSignal, show, showThrown } from '../checks.js';
import type { EngineClient, RequestEvent, RequestSink } from '../engine/client.js';
import type { NativeLogprob, NativeSampling, NativeTimings } from '../engine/native-types.js';
import { abortedError, closedError, NvlmError } from '../errors.js';
import { type CallImage, interpretMessages } from '../prompt/messages.js';
import { prepareImages, preparePrompt, promptTooLong } from '../prompt/preparation.js';
import type { PromptMessage } from '../prompt/templates.js';
import type { ChosenLogprob, FinishReason, GenerateResult, TokenLogprob, Usage } from '../types/output.js';
import type { ModelState } from './state.js';

/** Options of a call, checked and complete. */
export interface CallOptions {
  messages: PromptMessage[];
  images: CallImage[];
  maxTokens: number;
  sampling: NativeSampling;
  stop: string[];
  signal: AbortSignal | undefined;
}

const KNOWN_OPTIONS = [
  'messages',
  'images',
  'maxTokens',
  'temperature',
  'topK',
  'topP',
  'minP',
  'repetitionPenalty',
  'presencePenalty',
  'frequencyPenalty',
  'seed',
  'stop',
  'logprobs',
  'topLogprobs',
  'signal',
];

/** Checks the options of a call and fills in the checkpoint's defaults. */
export function interpretCall(value: unknown, state: ModelState): CallOptions {
  const options = asObject(value, 'options');
  checkKeys(options, KNOWN_OPTIONS, 'options');
  const { defaults } = state;
  const number = (name: string, min: number, max: number, fallback: number, integer = false): number =>
    optionalNumber(options[name], `options.${name}`, { min, max, integer, fallback: String(fallback) }) ?? fallback;
  const { messages, images } = interpretMessages(options['messages'], options['images'], state.limits);
  return {
    messages,
    images,
    maxTokens: number('maxTokens', 1, 1048576, defaults.maxTokens, true),
    sampling: {
      temperature: number('temperature', 0, 100, defaults.temperature),
      topK: number('topK', 0, 1048576, defaults.topK, true),
      topP: number('topP', Number.MIN_VALUE, 1, defaults.topP),
      minP: number('minP', 0, 1, defaults.minP),
      repetitionPenalty: number('repetitionPenalty', 0.01, 100, defaults.repetitionPenalty),
      presencePenalty: number('presencePenalty', -100, 100, 0),
      frequencyPenalty: number('frequencyPenalty', -100, 100, 0),
      seed:
        optionalNumber(options['seed'], 'options.seed', {
          min: 0,
          max: Number.MAX_SAFE_INTEGER,
          integer: true,
          fallback: 'drawn',
        }) ?? randomInt(2 ** 48 - 1),
      topLogprobs: interpretLogprobs(options['logprobs'], options['topLogprobs']),
    },
    stop: interpretStop(options['stop']),
    signal: optionalSignal(options['signal'], 'options.signal'),
  };
}

function interpretLogprobs(wanted: unknown, top: unknown): number {
  const logprobs = optionalBoolean(wanted, 'options.logprobs') ?? false;
  const count = optionalNumber(top, 'options.topLogprobs', { min: 0, max: 20, integer: true, fallback: '0' });
  if (logprobs) return count ?? 0;
  if (count === undefined) return -1;
  throw new NvlmError(
    'bad-option',
    `options.topLogprobs is ${count}, but options.logprobs is not true. Set logprobs: true as well.`,
  );
}

function interpretStop(value: unknown): string[] {
  if (value === undefined) return [];
  const list: unknown[] = Array.isArray(value) ? value : [value];
  const fits = list.length <= 16 && list.every(text => typeof text === 'string' && text !== '' && text.length <= 1024);
  if (fits) return list as string[];
  throw new NvlmError(
    'bad-option',
    `Expected a text or at most 16 texts of 1 to 1024 characters for options.stop but received ${show(value)}. Leave it out if there is none.`,
  );
}

/** A running call. Work starts when it is made; whoever reads it may be slow, since what came is kept together. */
export class Generation implements RequestSink {
  readonly #state: ModelState;
  readonly #client: EngineClient;
  readonly #options: CallOptions;
  readonly #started = performance.now();
  readonly #tokens: number[] = [];
  readonly #logprobs: ChosenLogprob[] = [];
  #text = '';
  #unreadFrom = 0;
  #unreadLogprobsFrom = 0;
  #usage: Usage | undefined;
  #decodeImage = 0;
  #request = 0;
  #result: GenerateResult | undefined;
  #error: NvlmError | undefined;
  #wake: (() => void) | undefined;
  #unlisten = (): void => {};

  constructor(state: ModelState, options: CallOptions) {
    this.#state = state;
    this.#client = state.client;
    this.#options = options;
    void this.#client.hold(() => this.#run());
  }

  /** What came since the last call: waits for more text, the result or the error. Text comes before either. */
  async take(): Promise<{ text: string; logprobs: ChosenLogprob[] } | GenerateResult> {
    for (;;) {
      if (this.#error !== undefined) throw this.#error;
      const text = this.#text.slice(this.#unreadFrom);
      if (text !== '') {
        this.#unreadFrom = this.#text.length;
        const logprobs = this.#logprobs.slice(this.#unreadLogprobsFrom);
        this.#unreadLogprobsFrom = this.#logprobs.length;
        return { text, logprobs };
      }
      if (this.#result !== undefined) return this.#result;
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    }
  }

  get wantsLogprobs(): boolean {
    return this.#options.sampling.topLogprobs >= 0;
  }

  /** Ends the call with `aborted` if it still runs. */
  cancel(reason?: unknown): void {
    if (this.#result !== undefined || this.#error !== undefined) return;
    this.onError(abortedError(reason));
    if (this.#request !== 0) this.#client.cancel(this.#request);
  }

  onEvent(event: RequestEvent): void {
    if (this.#error !== undefined) return;
    if (event.type === 'text') {
      this.#text += event.text;
      for (const id of event.ids) this.#tokens.push(id);
      for (const chosen of event.logprobs ?? []) this.#logprobs.push(this.#named(chosen));
    } else if (event.type === 'finish') {
      const stopString = this.#options.stop[event.stopString] ?? null;
      this.#result = this.#finished(event.reason, stopString, event.generated, event.timings);
      this.#settle();
    } else return;
    this.#wake?.();
  }

  onError(error: NvlmError): void {
    // After an abort of ours the engine's own word for it comes too late.
    if (this.#error !== undefined || this.#result !== undefined) return;
    this.#error = error;
    this.#settle();
    this.#wake?.();
  }

  /** Until this resolves the event loop is held. */
  #settle = (): void => {};

  async #run(): Promise<void> {
    const { signal } = this.#options;
    const settled = new Promise<void>(resolve => {
      this.#settle = resolve;
    });
    if (signal !== undefined) {
      const abort = (): void => this.cancel(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      this.#unlisten = () => signal.removeEventListener('abort', abort);
      if (signal.aborted) abort();
    }
    try {
      if (this.#error === undefined) await this.#submit();
    } catch (error) {
      this.onError(NvlmError.is(error) ? error : unexpected(error));
    }
    await settled;
    this.#unlisten();
  }

  async #submit(): Promise<void> {
    const state = this.#state;
    const { messages, images, sampling, stop } = this.#options;
    const prepared = await prepareImages(state, images, () => this.#error !== undefined);
    const prompt = await preparePrompt(state, messages, prepared);
    this.#decodeImage = performance.now() - this.#started;
    if (this.#error !== undefined) return;
    if (this.#client.closed) throw closedError();
    this.#usage = { ...prompt.usage, generatedTokens: 0 };
    const { contextLength } = state.description;
    if (prompt.ids.length >= contextLength) throw promptTooLong(prompt.usage, contextLength);
    this.#request = this.#client.submit(
      {
        ids: prompt.ids,
        images: prepared.map(image => image.native),
        slots: prompt.slots,
        tags: prompt.tags,
        imageEnds: prompt.imageEnds,
        tileTagIds: state.tileTags.ids,
        tileTagLengths: state.tileTags.lengths,
        maxTokens: Math.min(this.#options.maxTokens, contextLength - prompt.ids.length),
        stopIds: state.stopIds,
        stopStrings: stop.map(text => new TextEncoder().encode(text)),
        sampling,
      },
      this,
    );
  }

  #finished(
    finishReason: FinishReason,
    stopString: string | null,
    generated: number,
    timings: NativeTimings,
  ): GenerateResult {
    // Prefill yields the first token; an id that ended the answer took a step too.
    const steps = finishReason === 'stop' && stopString === null ? generated : generated - 1;
    const usage = this.#usage as Usage;
    return {
      text: this.#text,
      finishReason,
      stopString,
      tokens: this.#tokens,
      usage: { ...usage, generatedTokens: generated },
      timings: {
        decodeImage: this.#decodeImage,
        queued: timings.queued,
        cutTiles: timings.cutTiles,
        encodeTiles: timings.encodeTiles,
        prefill: timings.prefill,
        decode: timings.decode,
        perToken: steps > 0 ? timings.decode / steps : 0,
        total: performance.now() - this.#started,
      },
      seed: this.#options.sampling.seed,
      ...(this.wantsLogprobs ? { logprobs: this.#logprobs } : {}),
    };
  }

  #named(chosen: NativeLogprob): ChosenLogprob {
    const named = ({ id, logprob }: { id: number; logprob: number }): TokenLogprob => ({
      id,
      token: this.#state.tokenizer.decode([id]),
      logprob,
    });
    return { ...named(chosen), top: chosen.top.map(named) };
  }
}

function unexpected(cause: unknown): NvlmError {
  return new NvlmError(
    'internal',
    `The call failed unexpectedly (${showThrown(cause)}). Please report it with what was asked.`,
    { cause },
  );
}
