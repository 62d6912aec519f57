/** The async iterator over a running call. */

import { NvlmError } from '../errors.js';
import type { StreamPart } from '../types/output.js';
import type { Generation } from './generation.js';

// The call of a stream that was collected is cancelled. The generation must not reach the stream, or it would never be collected.
const collected = new FinalizationRegistry<Generation>(generation => generation.cancel());

/**
 * Parts of an answer as they come: text, and at last one `finish` with the whole result. Single use. Work started at the call of
 * `stream()`; `break`, an aborted signal and garbage collection of an unread stream cancel it. An aborted stream rejects with `aborted`, it
 * never just ends. A slow reader gets longer pieces, never stale or lost ones. Reads may overlap: they settle in order.
 */
export class TextStream implements AsyncIterableIterator<StreamPart> {
  readonly #generation: Generation;
  #iterated = false;

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
    try {
      const part = await this.#generation.answer.take();
      if (part?.type !== 'text') collected.unregister(this);
      return part === undefined ? { done: true, value: part } : { done: false, value: part };
    } catch (error) {
      collected.unregister(this);
      throw error;
    }
  }

  /** Called by `break`: cancels what still runs. */
  async return(): Promise<IteratorResult<StreamPart, undefined>> {
    collected.unregister(this);
    const { answer } = this.#generation;
    this.#generation.cancel();
    answer.leave();
    await answer.take(); // settles behind the reads before it
    return { done: true, value: undefined };
  }

  /** Cancels what still runs; `next()` then rejects with `aborted`. */
  cancel(reason?: unknown): void {
    this.#generation.cancel(reason);
  }
}
