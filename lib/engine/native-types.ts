/**
 * Everything that crosses between TypeScript and the addon. The addon builds none of the user's errors: it answers `{ code, message }`
 * (a NativeFailure), and `lib/errors.ts` turns that into an NvlmError. All objects passed in are built by `lib/` itself.
 */

import type { NativeFailure } from '../errors.js';
import type { Device, MemoryUse, ModelInfo } from '../types/output.js';

/** Node-style callback of every asynchronous native call; exactly one of the two is null. */
export type NativeCallback<T> = (failure: NativeFailure | null, value: T | null) => void;

export interface NativeLoadOptions {
  /** Folder of the checkpoint. */
  folder: string;
  /** `auto`, `cpu`, `cuda`, `cuda:1`; for tests `emulator`. */
  device: string;
  /** File of the CUDA library; empty: there is none. */
  cudaLibrary: string;
  /** CPU threads; 0: one per core this process may use. */
  threads: number;
  /** Most tiles of one image, thumbnail not counted; 0: the checkpoint's `max_dynamic_patch`. */
  maxTiles: number;
  /** Positions one sequence may hold, prompt and answer together; 0: min(max_position_embeddings, 8192). */
  contextLength: number;
  /** Sequences that run at once; key/value memory is planned for this many full contexts. */
  maxSequences: number;
  /** Images one prompt may hold; cross keys/values are planned for this many full images a sequence. */
  maxImages: number;
}

/** What a checkpoint is, as far as the addon knows it: flat, where the public type has a `decoder` of its own. */
type Described = Omit<ModelInfo, 'name' | 'folder' | 'license' | 'decoder'> & ModelInfo['decoder'];

/** What `inspect` and a loaded model say of a checkpoint. The default system message is filled in where the key is absent. */
export interface NativeDescription extends Described {
  /** Why device `auto` took the CPU, and what to do about it; null: it did not, or another device was asked for. */
  fallback: string | null;
  /** The decoder's program, one line an op; only from `inspect`. */
  program?: string[];
}

/** One image of a request: pixels the engine cuts into the given grid, or an image encoded before. */
export interface NativeImage {
  /** RGB, 8 bits a channel, width*height*3 bytes. Pinned until the engine has cut the tiles. */
  pixels?: Uint8Array;
  width?: number;
  height?: number;
  columns?: number;
  rows?: number;
  /** Id from `encode`, instead of pixels. */
  handle?: number;
}

/** A tag of X in the prompt: `length` positions from `position` that see tile `tile` of image `image` alone. */
export interface NativeTag {
  position: number;
  length: number;
  image: number;
  tile: number;
}

export interface NativeSampling {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
  /** 0 ≤ seed < 2^53. */
  seed: number;
  /** -1: no logprobs; 0: of the chosen token; n: and the n best. */
  topLogprobs: number;
}

export interface NativeRequest {
  /** Prompt ids; image slots hold the pad id. */
  ids: Int32Array;
  images: NativeImage[];
  /** First position of each image's run of decoder slots is found through `slots`: position, image, tile, in order. One entry a tile. D: all tiles; H: the thumbnail; X: none. */
  slots: Int32Array;
  /** X only. */
  tags: NativeTag[];
  /** Position just behind each image's block (after `</Image>`): text from here on attends to it. One entry an image. */
  imageEnds: Int32Array;
  /** H only: ids of `<tile_1>`, `<tile_2>`, … as tokenized alone, concatenated, with their lengths; enough for the largest image. */
  tileTagIds: Int32Array;
  tileTagLengths: Int32Array;
  maxTokens: number;
  stopIds: Int32Array;
  /** UTF-8 bytes of each stop string. */
  stopStrings: Uint8Array[];
  sampling: NativeSampling;
}

export interface NativeLogprob {
  id: number;
  logprob: number;
  /** The n best, most likely first. */
  top: { id: number; logprob: number }[];
}

export interface NativeTimings {
  /** Milliseconds. */
  queued: number;
  cutTiles: number;
  encodeTiles: number;
  prefill: number;
  decode: number;
}

/** Events of one engine, delivered in batches. `request` is the id that `submit` or `encode` returned. */
export type NativeEvent =
  | { type: 'text'; request: number; text: string; ids: Int32Array; logprobs: NativeLogprob[] | null }
  | {
      type: 'finish';
      request: number;
      reason: 'stop' | 'length';
      stopString: number;
      generated: number;
      timings: NativeTimings;
    }
  | { type: 'encoded'; request: number; handle: number; bytes: number; tiles: number; timings: NativeTimings }
  | { type: 'pixels-free'; request: number }
  | { type: 'progress'; loaded: number; total: number }
  | { type: 'loaded'; description: NativeDescription }
  | { type: 'error'; request: number; code: string; message: string }
  | { type: 'closed' };

/** One engine: one model on one device, with its own thread. */
export interface NativeEngine {
  /** Gives the engine the bytes of each token id (ids without bytes, and special tokens: empty). Called once before the first submit. `offsets` has vocabSize + 1 entries. */
  setVocabulary(bytes: Uint8Array, offsets: Int32Array): NativeFailure | null;
  /** Queues a generation; answers its id (> 0) or a failure. */
  submit(request: NativeRequest): number | NativeFailure;
  /** Queues encoding of one image; answers a request id. */
  encode(image: NativeImage, tileTagIds: Int32Array, tileTagLengths: Int32Array): number | NativeFailure;
  /** Frees an encoded image once no running request uses it. */
  release(handle: number): void;
  /** Cancels a queued or running request (or the load, with id 0); an `error` event with code `aborted` follows if it was still alive. */
  cancel(request: number): void;
  /** Measured bytes by kind, and counts. */
  stats(): {
    memory: MemoryUse;
    activeRequests: number;
    images: number;
    encodedTiles: number;
    crossProjections: number;
  };
  /** Keep (true) or don't keep (false) the event loop alive while work runs. */
  ref(keep: boolean): void;
  /** Stops the engine, joins its thread off the JS thread, frees the memory; a `closed` event is the last. Idempotent. */
  close(): void;
}

export interface NativeAddon {
  /** Must equal the version native.ts was written for. */
  interfaceVersion: number;
  /** Reads config and headers only. */
  inspect(options: NativeLoadOptions, done: NativeCallback<NativeDescription>): void;
  /** Starts loading; events come through `onEvents` (a `loaded` or an `error` with request 0 first). */
  createEngine(options: NativeLoadOptions, onEvents: (events: NativeEvent[]) => void): NativeEngine | NativeFailure;
  /** Cuts an image into tiles as the model sees them: u8 [tiles, tileSize, tileSize, 3], thumbnail last when asked. Off the JS thread. */
  cutTiles(
    image: Required<Omit<NativeImage, 'handle'>>,
    tileSize: number,
    thumbnail: boolean,
    done: NativeCallback<Uint8Array>,
  ): void;
  /** The CPU, then every GPU that the library shows; without one an entry `cuda` with the reason. Off the JS thread. */
  devices(cudaLibrary: string, done: NativeCallback<Device[]>): void;
}
