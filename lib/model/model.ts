/** Model: what a loaded model can be asked. Every public function makes four moves: defaults, validate, interpret, call native. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { show } from '../checks.js';
import { abortedError, closedError, NvlmError } from '../errors.js';
import { checkOptions, knownOptions } from '../options/read.js';
import { countOptions, encodeOptions } from '../options/table.js';
import { interpretImage, interpretMessages } from '../prompt/messages.js';
import { measureImage, preparePrompt } from '../prompt/preparation.js';
import type { GenerateOptions, ImageInput, ImageOptions, Message } from '../types/input.js';
import type { EncodedImage, GenerateResult, ModelInfo, ModelStats, TokenCount } from '../types/output.js';
import { interpretCall } from './call.js';
import { encodeImage } from './encode.js';
import { Generation } from './generation.js';
import { infoOf } from './info.js';
import type { ModelState } from './state.js';
import { TextStream } from './stream.js';

/** Ids that become elements of a plain array in one turn of the event loop: well below a millisecond. */
const IDS_AT_ONCE = 4096;

// A forgotten model closes itself once it is collected and its last call is over.
const forgotten = new FinalizationRegistry<ModelState>(state => {
  state.client.closeWhenIdle(() => state.tokenizer.close());
});

/** A loaded model. Calls may overlap; each gets the answer it would get alone. Close it, or use `await using`. */
export class Model {
  readonly #state: ModelState;

  /** Made by `load` only. */
  constructor(state: ModelState) {
    this.#state = state;
    forgotten.register(this, state, this);
  }

  /** Architecture, sizes, memory and licence. */
  get info(): ModelInfo {
    const { checkpoint, description, license } = this.#state;
    return infoOf(checkpoint, description, license);
  }

  /** What the model holds and does now. */
  stats(): ModelStats {
    const { memory, ...counts } = this.#state.client.stats();
    return { memory: { ...memory }, ...counts };
  }

  /** Answers the messages. Rejects with `aborted` if the signal is, and with `closed` if the model is closed meanwhile. */
  async generate(options: GenerateOptions): Promise<GenerateResult> {
    this.#mustBeOpen();
    const call = interpretCall(options, this.#state);
    return Generation.start(this.#state, call).answer.result;
  }

  /** Answers the messages piece by piece. Work starts now; see {@link TextStream} for what ends it. Throws at once on bad options. */
  stream(options: GenerateOptions): TextStream {
    this.#mustBeOpen();
    const call = interpretCall(options, this.#state);
    return new TextStream(Generation.start(this.#state, call));
  }

  /** Runs the encoder on an image once; the handle may stand wherever this model takes an image. */
  async encodeImage(image: ImageInput, options?: ImageOptions & { signal?: AbortSignal }): Promise<EncodedImage> {
    this.#mustBeOpen();
    const given = knownOptions(options, encodeOptions);
    const { signal } = checkOptions(given, { signal: encodeOptions.signal });
    if (signal?.aborted) throw abortedError(signal.reason);
    const checked = interpretImage(image, given, 'options', this.#state.limits, 'image');
    if (checked.source.kind === 'encoded') {
      throw new NvlmError('bad-option', 'The image is encoded already. Use the handle as it is.');
    }
    return encodeImage(this.#state, checked, signal);
  }

  /** Ids of a text. It is plain text: a typed `<|im_end|>` is characters like any others. */
  async tokenize(text: string): Promise<number[]> {
    this.#mustBeOpen();
    if (typeof text !== 'string')
      throw new NvlmError('bad-option', `Expected a string for text but received ${show(text)}. Give the text.`);
    const [encoded = []] = await this.#state.client.hold(() => this.#state.tokenizer.encode([text]));
    const ids: number[] = [];
    for (let at = 0; at < encoded.length; at += IDS_AT_ONCE) {
      if (at > 0) await nextTurn();
      const end = Math.min(at + IDS_AT_ONCE, encoded.length);
      for (let i = at; i < end; i++) ids.push(encoded[i] as number);
    }
    return ids;
  }

  /** The text of ids; special tokens have none, and bytes that are no UTF-8 show as the replacement character. */
  detokenize(ids: readonly number[] | Int32Array): string {
    this.#mustBeOpen();
    const { vocabSize } = this.#state.description;
    const list: unknown = ids;
    const isList = Array.isArray(list) || ArrayBuffer.isView(list);
    const wrongAt = isList ? Array.prototype.findIndex.call(list, id => !isTokenId(id, vocabSize)) : -1;
    const wrong = isList ? (list as unknown[])[wrongAt] : list;
    if (!isList || wrongAt >= 0) {
      throw new NvlmError(
        'bad-option',
        `Expected ids between 0 and ${vocabSize - 1} for ids but received ${show(wrong)}. Give an array of ids.`,
      );
    }
    return this.#state.tokenizer.decode(ids);
  }

  /** What messages would cost, their images' too; of an image only the header is read. Does not refuse a prompt that is too long. */
  async countTokens(options: {
    messages: readonly Message[];
    images?: GenerateOptions['images'];
  }): Promise<TokenCount> {
    this.#mustBeOpen();
    const given = knownOptions(options, countOptions);
    const { messages, images } = interpretMessages(given['messages'], given['images'], this.#state.limits);
    const state = this.#state;
    return state.client.hold(async () => {
      const usages = await Promise.all(images.map(async image => ({ usage: await measureImage(state, image) })));
      const { usage } = await preparePrompt(state, messages, usages);
      return { ...usage, room: state.description.contextLength - usage.promptTokens };
    });
  }

  /** Rejects what is pending with `closed`, and frees the memory. Idempotent. */
  async close(): Promise<void> {
    forgotten.unregister(this);
    await Promise.all([this.#state.client.close(), this.#state.tokenizer.close()]);
  }

  /** The same as {@link Model.close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #mustBeOpen(): void {
    if (this.#state.client.closed) throw closedError();
  }
}

function isTokenId(id: unknown, vocabSize: number): boolean {
  return typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < vocabSize;
}
