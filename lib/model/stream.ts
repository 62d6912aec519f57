/** The async iterator over a running call. */

import { NvlmError } from '../errors.js';
import type { StreamPart } from '../types/output.js';
import type { Generation } from './generation.js';

// A stream that nobody holds any more is nobody's to read: its call is cancelled. The generation must not reach the stream.
const collected = new FinalizationRegistry<Generation>(generation => generation.cancel());

/**
 * Parts of an answer as they come: text, and at last one `finish` with the whole result. Single use. Work started at the call of
 * `stream()`; `break`, an aborted signal and garbage collection of an unread stream cancel it. An aborted stream rejects with `aborted`, it
 * never just ends. A slow reader gets longer pieces, never stale or lost ones.
 */
export class TextStream implements AsyncIterableIterator<StreamPart> {
  readonly #generation: Generation;
  #iterated = false;
  #ended = false;

  /** Made by `model.stream` only. */
  constructor(generation: Generation) {
    this.#generation = generation;
    collected.register(this, generation, this);
  }

  [Symbol.asyncIterator](): this {
    if (this.#iterated) {
      throw new NvlmError(
        'stream-used',
        'This stream was iterated before, and a stream can be read once. Keep its parts, or call stream() again.',
      );
    }
    this.#iterated = true;
    return this;
  }

  async next(): Promise<IteratorResult<StreamPart, undefined>> {
    if (this.#ended) return { done: true, value: undefined };
    try {
      const taken = await this.#generation.take();
      if ('usage' in taken) {
        this.#end();
        return { done: false, value: { type: 'finish', result: taken } };
      }
      const { text, logprobs } = taken;
      return {
        done: false,
        value: this.#generation.wantsLogprobs ? { type: 'text', text, logprobs } : { type: 'text', text },
      };
    } catch (error) {
      this.#end();
      throw error;
    }
  }

  /** Called by `break`: cancels what still runs. */
  async return(): Promise<IteratorResult<StreamPart, undefined>> {
    this.#end();
    this.#generation.cancel();
    return { done: true, value: undefined };
  }

  /** Cancels what still runs; `next()` then rejects with `aborted`. */
  cancel(reason?: unknown): void {
    this.#generation.cancel(reason);
  }

  #end(): void {
    this.#ended = true;
    collected.unregister(this);
  }
}
