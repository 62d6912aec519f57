/** load() and Model. Every public function makes four moves: defaults, validate, interpret, call native. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { findCheckpoint, readGenerationDefaults, readLicense } from './checkpoint.js';
import { EncodedImage } from '../image/encoded.js';
import { EngineClient, type RequestSink } from '../engine/client.js';
import { abortedError, closedError, fromNative, NvlmError } from '../errors.js';
import { Generation, interpretCall } from './generation.js';
import { type Conversation, interpretImage, interpretMessages } from '../prompt/messages.js';
import type { ModelState } from './state.js';
import { interpretLoad } from './load-options.js';
import { cudaLibrary, native } from '../engine/native.js';
import type { NativeDescription } from '../engine/native-types.js';
import { asObject, checkKeys, optionalSignal, show } from '../checks.js';
import { measureImage, prepareImage, preparePrompt } from '../prompt/preparation.js';
import { tileTagIds } from '../prompt/templates.js';
import { TextStream } from './stream.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';
import type {
  GenerateOptions,
  GenerateResult,
  ImageInput,
  ImageOptions,
  Inspection,
  LoadOptions,
  Message,
  ModelInfo,
  ModelStats,
  TokenCount,
} from '../types.js';

/** The largest number that a tile's tag had in training (spec section 5). */
const TRAINED_TILES = 6;

/** Ids that become elements of a plain array in one turn of the event loop: well below a millisecond. */
const IDS_AT_ONCE = 4096;

// A forgotten model closes itself once it is collected and its last call is over.
const forgotten = new FinalizationRegistry<ModelState>(state => {
  state.client.closeWhenIdle(() => state.tokenizer.close());
});

/**
 * Loads a model by bundled name (`nvlm-tiny-d`, …) or checkpoint folder. Nothing is downloaded. The memory it will need is planned first;
 * if that is more than is free, this rejects with `out-of-memory` before reading any weights.
 */
export async function load(model: string, options?: LoadOptions): Promise<Model> {
  const settings = interpretLoad(options);
  const checkpoint = await findCheckpoint(model);
  const { folder } = checkpoint;
  if (settings.signal?.aborted) throw abortedError(settings.signal.reason);
  const [tokenizer, defaults, license] = await Promise.all([
    Tokenizer.open(folder),
    readGenerationDefaults(folder),
    readLicense(folder),
  ]);
  try {
    const wanted = { folder, cudaLibrary: cudaLibrary(settings.native.device), ...settings.native };
    const { client, description } = await EngineClient.load(wanted, settings, settings.signal);
    try {
      const isH = description.architecture === 'NVLM-H';
      const tileTags = await tileTagIds(tokenizer, isH ? description.maxTiles : 0);
      const { bytes, offsets } = tokenizer.bytes(description.vocabSize);
      client.setVocabulary(bytes, offsets);
      const ends = ['<|im_end|>', '<|endoftext|>'].flatMap(name => tokenizer.findSpecial(name) ?? []);
      const stopIds = Int32Array.from(new Set([...ends, ...defaults.eosIds]));
      const { minTiles, maxTiles, maxImages } = description;
      const limits = { minTiles, maxTiles, maxImages };
      const { maxPixels } = settings;
      if (description.fallback !== null) {
        settings.onLog?.({ level: 'info', message: `The model runs on the CPU. ${description.fallback}` });
      }
      if (maxTiles > TRAINED_TILES && settings.onLog !== undefined) {
        const message = `Images may have up to ${maxTiles} tiles, and tags above <tile_${TRAINED_TILES}> were never trained. Expect worse reading.`;
        settings.onLog({ level: 'warn', message });
      }
      return new Model({
        checkpoint,
        client,
        description,
        tokenizer,
        defaults,
        license,
        limits,
        maxPixels,
        stopIds,
        tileTags,
      });
    } catch (error) {
      await client.close();
      throw error;
    }
  } catch (error) {
    await tokenizer.close();
    throw error;
  }
}

/** What a checkpoint is and will need, from its config and the headers of its weights; loads nothing. */
export async function inspect(model: string, options?: LoadOptions): Promise<Inspection> {
  const settings = interpretLoad(options);
  const checkpoint = await findCheckpoint(model);
  const [license, description] = await Promise.all([
    readLicense(checkpoint.folder),
    new Promise<NativeDescription>((resolve, reject) => {
      const wanted = {
        folder: checkpoint.folder,
        cudaLibrary: cudaLibrary(settings.native.device),
        ...settings.native,
      };
      native().inspect(wanted, (failure, value) => {
        if (failure !== null) reject(fromNative(failure));
        else resolve(value as NativeDescription);
      });
    }),
  ]);
  return { ...describe(checkpoint, description, license), program: description.program ?? [] };
}

/** A loaded model. Calls may overlap; each gets the answer it would get alone. Close it, or use `await using`. */
export class Model {
  readonly #state: ModelState;

  /** Made by {@link load} only. */
  constructor(state: ModelState) {
    this.#state = state;
    forgotten.register(this, state, this);
  }

  /** Architecture, sizes, memory and licence. */
  get info(): ModelInfo {
    const { checkpoint, description, license } = this.#state;
    return describe(checkpoint, description, license);
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
    const generation = new Generation(this.#state, call);
    for (;;) {
      const taken = await generation.take();
      if ('usage' in taken) return taken;
    }
  }

  /** Answers the messages piece by piece. Work starts now; see {@link TextStream} for what ends it. Throws at once on bad options. */
  stream(options: GenerateOptions): TextStream {
    this.#mustBeOpen();
    const call = interpretCall(options, this.#state);
    return new TextStream(new Generation(this.#state, call));
  }

  /** Runs the encoder on an image once; the handle may stand wherever this model takes an image. */
  async encodeImage(image: ImageInput, options?: ImageOptions & { signal?: AbortSignal }): Promise<EncodedImage> {
    this.#mustBeOpen();
    const given = asObject(options, 'options');
    checkKeys(given, ['maxTiles', 'orient', 'signal'], 'options');
    const signal = optionalSignal(given['signal'], 'options.signal');
    if (signal?.aborted) throw abortedError(signal.reason);
    const call = interpretImage(image, given, 'options', this.#state.limits, 'image');
    if (call.source.kind === 'encoded') {
      throw new NvlmError('bad-option', 'The image is encoded already. Use the handle as it is.');
    }
    const state = this.#state;
    const { client } = state;
    return client.hold(async () => {
      const { native: pixels, usage } = await prepareImage(state, call);
      if (signal?.aborted) throw abortedError(signal.reason);
      const { handle, bytes } = await encode(client, pixels, state.tileTags, signal);
      return EncodedImage.create({ owner: client, handle, usage, release: id => client.release(id) }, bytes);
    });
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
    const given = asObject(options, 'options');
    checkKeys(given, ['messages', 'images'], 'options');
    const conversation: Conversation = interpretMessages(given['messages'], given['images'], this.#state.limits);
    const state = this.#state;
    return state.client.hold(async () => {
      const usages = await Promise.all(
        conversation.images.map(async image => ({ usage: await measureImage(state, image) })),
      );
      const { usage } = await preparePrompt(state, conversation.messages, usages);
      return { ...usage, room: state.description.contextLength - usage.promptTokens };
    });
  }

  /** Rejects what is pending with `closed`, and frees the memory. Idempotent. */
  async close(): Promise<void> {
    forgotten.unregister(this);
    await closeState(this.#state);
  }

  /** The same as {@link Model.close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #mustBeOpen(): void {
    if (this.#state.client.closed) throw closedError();
  }
}

function describe(
  checkpoint: { name: string; folder: string },
  description: NativeDescription,
  license: string | null,
): ModelInfo {
  const { hiddenSize, layers, crossLayers, heads, kvHeads, headDim, ...d } = description;
  return {
    ...checkpoint,
    architecture: d.architecture,
    license,
    dtype: d.dtype,
    tileSize: d.tileSize,
    tokensPerTile: d.tokensPerTile,
    minTiles: d.minTiles,
    maxTiles: d.maxTiles,
    dynamicTiles: d.dynamicTiles,
    useThumbnail: d.useThumbnail,
    contextLength: d.contextLength,
    maxSequences: d.maxSequences,
    maxImages: d.maxImages,
    vocabSize: d.vocabSize,
    systemMessage: d.systemMessage,
    decoder: { hiddenSize, layers, crossLayers: [...crossLayers], heads, kvHeads, headDim },
    vision: { ...d.vision },
    parameters: { ...d.parameters },
    memory: { ...d.memory },
    device: d.device,
    instructionSet: d.instructionSet,
    threads: d.threads,
  };
}

function encode(
  client: EngineClient,
  image: Parameters<EngineClient['encode']>[0],
  tags: ModelState['tileTags'],
  signal: AbortSignal | undefined,
): Promise<{ handle: number; bytes: number }> {
  return new Promise((resolve, reject) => {
    const sink: RequestSink = {
      onEvent: event => {
        if (event.type !== 'encoded') return;
        signal?.removeEventListener('abort', abort);
        resolve(event);
      },
      onError: error => {
        signal?.removeEventListener('abort', abort);
        reject(signal?.aborted && error.code === 'aborted' ? abortedError(signal.reason) : error);
      },
    };
    const request = client.encode(image, tags, sink);
    const abort = (): void => client.cancel(request);
    signal?.addEventListener('abort', abort, { once: true });
  });
}

function isTokenId(id: unknown, vocabSize: number): boolean {
  return typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < vocabSize;
}

async function closeState(state: ModelState): Promise<void> {
  await Promise.all([state.client.close(), state.tokenizer.close()]);
}
