/** What has come of a call so far. Events fill it; readers take from it when they like, however slow they are. */

import type { NvlmError } from '../errors.js';
import type { ChosenLogprob, GenerateResult, StreamPart } from '../types/output.js';

interface Reader {
  resolve: (part: StreamPart | undefined) => void;
  reject: (error: NvlmError) => void;
}

/** An answer in the making. It settles once: with the result or with an error. */
export class Answer {
  readonly tokens: number[] = [];
  readonly logprobs: ChosenLogprob[] = [];
  /** The whole answer; for those who don't read its parts. */
  readonly result: Promise<GenerateResult>;
  readonly #wantsLogprobs: boolean;
  readonly #readers: Reader[] = [];
  #text = '';
  #textTaken = 0;
  #logprobsTaken = 0;
  #outcome: { result: GenerateResult } | { error: NvlmError } | undefined;
  /** Whether there is nothing left to take: the outcome was, or the readers left. */
  #over = false;
  #settle!: { resolve: (result: GenerateResult) => void; reject: (error: NvlmError) => void };

  constructor(wantsLogprobs: boolean) {
    this.#wantsLogprobs = wantsLogprobs;
    this.result = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // A stream's reader gets the error from take() instead; without this it would count as unhandled here.
    this.result.catch(() => {});
  }

  get text(): string {
    return this.#text;
  }

  get settled(): boolean {
    return this.#outcome !== undefined;
  }

  /** Adds tokens and the text that they completed. What comes after the outcome is dropped. */
  add(text: string, tokens: Iterable<number>, logprobs: readonly ChosenLogprob[]): void {
    if (this.settled) return;
    this.#text += text;
    for (const id of tokens) this.tokens.push(id);
    for (const chosen of logprobs) this.logprobs.push(chosen);
    this.#serve();
  }

  finish(result: GenerateResult): void {
    if (this.settled) return;
    this.#outcome = { result };
    this.#settle.resolve(result);
    this.#serve();
  }

  fail(error: NvlmError): void {
    if (this.settled) return;
    this.#outcome = { error };
    this.#settle.reject(error);
    this.#serve();
  }

  /**
   * The text since the last take, else the outcome, else nothing more (undefined). Waits until there is one of them; those who wait are
   * served in the order in which they came. An error comes before text that was not taken.
   */
  take(): Promise<StreamPart | undefined> {
    return new Promise((resolve, reject) => {
      this.#readers.push({ resolve, reject });
      this.#serve();
    });
  }

  /** Nothing more will be read: whoever takes from now on gets nothing. */
  leave(): void {
    this.#over = true;
    this.#serve();
  }

  #serve(): void {
    for (let reader = this.#readers[0]; reader !== undefined; reader = this.#readers[0]) {
      const outcome = this.#outcome;
      if (this.#over) reader.resolve(undefined);
      else if (outcome !== undefined && 'error' in outcome) reader.reject(this.#last(outcome.error));
      else if (this.#text.length > this.#textTaken) reader.resolve(this.#part());
      else if (outcome !== undefined) reader.resolve({ type: 'finish', result: this.#last(outcome.result) });
      else return;
      this.#readers.shift();
    }
  }

  #part(): StreamPart {
    const text = this.#text.slice(this.#textTaken);
    const logprobs = this.logprobs.slice(this.#logprobsTaken);
    this.#textTaken = this.#text.length;
    this.#logprobsTaken = this.logprobs.length;
    return this.#wantsLogprobs ? { type: 'text', text, logprobs } : { type: 'text', text };
  }

  #last<T>(outcome: T): T {
    this.#over = true;
    return outcome;
  }
}
