/** One request of `generate` or `stream`: prepares what the engine takes, submits it, and settles its answer. */

import { showThrown } from '../checks.js';
import type { NativeRequest } from '../engine/native-types.js';
import { abortedError, closedError, NvlmError } from '../errors.js';
import { prepareImages, preparePrompt, promptTooLong } from '../prompt/preparation.js';
import { Answer } from './answer.js';
import type { Call } from './call.js';
import { namedLogprobs, resultOf } from './result.js';
import type { ModelState } from './state.js';

/** A request that runs. */
export class Generation {
  readonly answer: Answer;
  readonly #state: ModelState;
  readonly #call: Call;
  /** The engine's id; 0 until it is submitted. */
  #request = 0;

  private constructor(state: ModelState, call: Call) {
    this.#state = state;
    this.#call = call;
    this.answer = new Answer(call.sampling.topLogprobs >= 0);
  }

  /** Starts work on a call. The event loop is held until its answer has settled. */
  static start(state: ModelState, call: Call): Generation {
    const generation = new Generation(state, call);
    void state.client.hold(() => generation.#run());
    return generation;
  }

  /** Ends it with `aborted` if it still runs. */
  cancel(reason?: unknown): void {
    if (this.answer.settled) return;
    this.answer.fail(abortedError(reason));
    if (this.#request !== 0) this.#state.client.cancel(this.#request);
  }

  async #run(): Promise<void> {
    const { answer } = this;
    const { signal } = this.#call;
    const abort = (): void => this.cancel(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) abort();
    try {
      if (!answer.settled) await this.#submit();
      await answer.result;
    } catch (error) {
      answer.fail(NvlmError.is(error) ? error : unexpected(error));
    }
    signal?.removeEventListener('abort', abort);
  }

  async #submit(): Promise<void> {
    const { answer } = this;
    const { client, crossTags, description, stopIds, tokenizer } = this.#state;
    const { images, messages, maxTokens, sampling, stop } = this.#call;
    const started = performance.now();
    const prepared = await prepareImages(this.#state, images, () => answer.settled);
    const { usage, ...prompt } = await preparePrompt(this.#state, messages, prepared);
    const decodeImage = performance.now() - started;
    if (answer.settled) return;
    if (client.closed) throw closedError();
    const room = description.contextLength - prompt.ids.length;
    if (room <= 0) throw promptTooLong(usage, description.contextLength);
    const request: NativeRequest = {
      ...prompt,
      images: prepared.map(image => image.native),
      tileTagIds: crossTags.ids,
      tileTagLengths: crossTags.lengths,
      maxTokens: Math.min(maxTokens, room),
      stopIds,
      stopStrings: stop.map(text => new TextEncoder().encode(text)),
      sampling,
    };
    this.#request = client.submit(request, {
      onEvent: event => {
        if (event.type === 'text') answer.add(event.text, event.ids, namedLogprobs(event.logprobs, tokenizer));
        if (event.type === 'finish')
          answer.finish(resultOf(this.#call, answer, usage, event, { started, decodeImage }));
      },
      onError: error => answer.fail(error),
    });
  }
}

function unexpected(cause: unknown): NvlmError {
  return new NvlmError(
    'internal',
    `The call failed unexpectedly (${showThrown(cause)}). Please report it with what was asked.`,
    { cause },
  );
}
