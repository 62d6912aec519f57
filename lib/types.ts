/** The types people import. Each field gives unit, default and range. */

import type { EncodedImage } from './image/encoded.js';

/** Pixels that are already decoded. */
export interface RawImage {
  /**
   * Rows from top to bottom, channels interleaved, 8 bits each; width·height·channels bytes. Must not change until the call is over. It is
   * copied in small pieces; only RGB in shared memory is read in place.
   */
  data: Uint8Array | Uint8ClampedArray | ArrayBuffer | SharedArrayBuffer;
  /** Pixels. */
  width: number;
  /** Pixels. */
  height: number;
  /** 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA. Alpha is dropped. */
  channels: 1 | 2 | 3 | 4;
}

/**
 * An image: a path, a file URL, a data: URL, the bytes of a file, a Blob, raw pixels, or an image that was encoded before. JPEG, PNG,
 * WebP, GIF (first frame), TIFF and AVIF. Nothing is fetched: http(s) URLs are refused.
 */
export type ImageInput = string | URL | Uint8Array | ArrayBuffer | Blob | RawImage | EncodedImage;

/** How one image is read and tiled. */
export interface ImageOptions {
  /** Most tiles, thumbnail not counted; 1 to the model's maxTiles. Default: the model's. */
  maxTiles?: number;
  /** Whether the EXIF orientation is applied. Default: true. */
  orient?: boolean;
}

/** Text within a message. */
export interface TextPart {
  type: 'text';
  text: string;
}

/** An image within a message; it stands where the part stands. */
export interface ImagePart extends ImageOptions {
  type: 'image';
  image: ImageInput;
}

/** A piece of a message's content. */
export type ContentPart = TextPart | ImagePart;

/** One turn. A system message may only come first; without one the checkpoint's default applies, if it has any. */
export interface Message {
  role: 'system' | 'user' | 'assistant';
  /** A string is one text; it has no image syntax and no special tokens. */
  content: string | readonly ContentPart[];
}

/** Something the library has to say; it prints nothing itself. */
export interface LogEntry {
  level: 'info' | 'warn';
  message: string;
}

/** How far loading has come. */
export interface LoadProgress {
  /** Bytes of weights made ready. */
  loaded: number;
  /** Bytes of weights in all. */
  total: number;
}

/** Options of `load`. */
export interface LoadOptions {
  /**
   * `auto` takes the first GPU that can be used, else the CPU, and tells `onLog` why. `cuda` is the first GPU, `cuda:1` the second; one
   * that can't be used is an error with the reason. Default: `auto`.
   */
  device?: 'auto' | 'cpu' | 'cuda' | `cuda:${number}`;
  /** CPU threads, 1 to 1024. Default: one per core this process may use. */
  threads?: number;
  /** Most tiles of an image, thumbnail not counted, 1 to 12. Default: the checkpoint's `max_dynamic_patch`. */
  maxTiles?: number;
  /** Positions of one sequence, prompt and answer together, 16 to 1048576. Default: the checkpoint's, at most 8192. */
  contextLength?: number;
  /** Sequences that run at once, 1 to 64; more wait their turn. Default: 2. Memory is planned for all of them. */
  maxSequences?: number;
  /** Images one prompt may hold, 1 to 256. Default: 8. Memory is planned for all of them. */
  maxImages?: number;
  /** Pixels an image may have, looked at before it is decoded, 1 to 1e9. Default: 1e8. */
  maxPixels?: number;
  /** Hears how far loading has come. */
  onProgress?: (progress: LoadProgress) => void;
  /** Hears what there is to say. Default: nobody does. */
  onLog?: (entry: LogEntry) => void;
  /** Aborts the load. */
  signal?: AbortSignal;
}

/** What `generate` and `stream` take. Defaults marked (checkpoint) come from generation_config.json where it has the key. */
export interface GenerateOptions {
  messages: readonly Message[];
  /** Images that are given apart from the text; they stand in front of the first user turn's text. Default: none. */
  images?: readonly (ImageInput | ImagePart)[];
  /**
   * Tokens to answer at most, 1 to 1048576. Default (checkpoint): `max_new_tokens`, else 1024. Clipped to the room that the prompt leaves
   * in the context; an answer cut there ends with finishReason `length`.
   */
  maxTokens?: number;
  /** 0 to 100; 0 always takes the likeliest token. Default (checkpoint): 0 where `do_sample` is false or absent, else `temperature` or 1. */
  temperature?: number;
  /** Sample among this many likeliest tokens, 0 to 1048576; 0: all. Default (checkpoint): 0. */
  topK?: number;
  /** Sample among the likeliest tokens that together have this probability, above 0 to 1. Default (checkpoint): 1. */
  topP?: number;
  /** Leave out tokens less likely than this times the likeliest, 0 to 1. Default (checkpoint): 0. */
  minP?: number;
  /** Above 1 makes tokens that already stand in prompt or answer less likely, 0.01 to 100. Default (checkpoint): 1. */
  repetitionPenalty?: number;
  /** Taken from the logit of every token already answered, -100 to 100. Default: 0. */
  presencePenalty?: number;
  /** Taken from the logit of a token once per time it was answered, -100 to 100. Default: 0. */
  frequencyPenalty?: number;
  /** Same seed, same text; 0 to 2^53 - 1. Default: drawn, and told in the result. */
  seed?: number;
  /** Texts that end the answer and are not part of it; at most 16, none empty. Default: none. */
  stop?: string | readonly string[];
  /** Whether to return the log-probability of every token. Default: false. */
  logprobs?: boolean;
  /** And of this many likeliest tokens at each place, 0 to 20; needs `logprobs: true`. Default: 0. */
  topLogprobs?: number;
  /** Aborts the call; it rejects with `aborted`. */
  signal?: AbortSignal;
}

/** How one image was tiled, and what it costs. */
export interface ImageUsage {
  /** Pixels, after orientation. */
  width: number;
  height: number;
  columns: number;
  rows: number;
  /** Tiles, thumbnail included. */
  tiles: number;
  /** Image tokens of all tiles, in the sequence or cross-attended. */
  tokens: number;
}

/** Tokens of a call. */
export interface Usage {
  /** Positions of the prompt in the decoder: textTokens and the image tokens that stand in the sequence. */
  promptTokens: number;
  /** Positions of text, tags and special tokens. */
  textTokens: number;
  /** Image tokens of all images, in the sequence or cross-attended. */
  imageTokens: number;
  /** Tokens answered; the one that ended the answer is not counted. */
  generatedTokens: number;
  images: ImageUsage[];
}

/** Milliseconds. */
export interface Timings {
  /** Reading and decoding the images and encoding the text. */
  decodeImage: number;
  /** Waiting for the engine. */
  queued: number;
  /** Resampling and cutting tiles. */
  cutTiles: number;
  /** The vision encoder and projector; 0 for images that were encoded before. */
  encodeTiles: number;
  prefill: number;
  /** Every step after prefill. */
  decode: number;
  /** Average of these steps. */
  perToken: number;
  /** From the call to the end. */
  total: number;
}

/** A token and how likely it was. */
export interface TokenLogprob {
  id: number;
  /** Its text; half a character shows as the replacement character. */
  token: string;
  /** Natural logarithm of its probability, before temperature and cuts. */
  logprob: number;
}

/** A chosen token, with the likeliest ones at its place. */
export interface ChosenLogprob extends TokenLogprob {
  /** Likeliest first; as many as `topLogprobs` asked for. */
  top: TokenLogprob[];
}

/** Why an answer ended: the model or a stop text ended it, or there was no more room. */
export type FinishReason = 'stop' | 'length';

/** A whole answer. */
export interface GenerateResult {
  text: string;
  finishReason: FinishReason;
  /** The stop text that ended the answer; null if none did. */
  stopString: string | null;
  /** Ids of the answered tokens. */
  tokens: number[];
  usage: Usage;
  timings: Timings;
  /** The seed that was used; meaningless at temperature 0. */
  seed: number;
  /** Only when asked for. One entry per answered token. */
  logprobs?: ChosenLogprob[];
}

/** What a stream yields: text as it comes, and at last the whole result. */
export type StreamPart =
  | {
      type: 'text';
      /** Whole characters; never empty. */
      text: string;
      /** Only when asked for: the tokens decided since the part before. */
      logprobs?: ChosenLogprob[];
    }
  | { type: 'finish'; result: GenerateResult };

/** What `countTokens` answers. */
export type TokenCount = Omit<Usage, 'generatedTokens'> & {
  /** Positions left for an answer; negative if the prompt does not fit. */
  room: number;
};

/** Bytes of memory by purpose. */
export interface MemoryUse {
  weights: number;
  kvCache: number;
  /** Cross-attention keys and values; 0 for NVLM-D. */
  crossCache: number;
  activations: number;
  /** Image tokens. */
  images: number;
  total: number;
}

/** What a checkpoint is; part of `model.info`, and what `inspect` answers. */
export interface ModelInfo {
  /** The name or path it was asked for by. */
  name: string;
  /** The checkpoint's folder. */
  folder: string;
  architecture: 'NVLM-D' | 'NVLM-X' | 'NVLM-H';
  /** Licence as the model card or licence file says; null if neither says. */
  license: string | null;
  /** Type of the stored weights, such as `bfloat16`. */
  dtype: string;
  /** Side of a tile in pixels. */
  tileSize: number;
  tokensPerTile: number;
  /** Fewest and most tiles of an image, thumbnail not counted. */
  minTiles: number;
  maxTiles: number;
  /** false: every image becomes one tile. */
  dynamicTiles: boolean;
  /** Whether a thumbnail follows when there is more than one tile. */
  useThumbnail: boolean;
  /** Positions of one sequence. */
  contextLength: number;
  maxSequences: number;
  maxImages: number;
  vocabSize: number;
  /** Used where the messages bring none; null: none. */
  systemMessage: string | null;
  decoder: {
    hiddenSize: number;
    layers: number;
    crossLayers: number[];
    heads: number;
    kvHeads: number;
    headDim: number;
  };
  vision: { hiddenSize: number; layers: number; heads: number; headDim: number; patchSize: number; norm: string };
  parameters: { encoder: number; projector: number; decoder: number; crossAttention: number; total: number };
  /** What was planned before loading, and what was free on the device then, in bytes. */
  memory: MemoryUse & { free: number };
  /** The device it runs on: `cpu`, `cuda:0`, …; one of those that `devices` lists. */
  device: string;
  /** Instruction set of the CPU kernels; null on a GPU. */
  instructionSet: string | null;
  /** CPU threads. */
  threads: number;
}

/** What a model holds and does; part of the answer of `model.stats`. */
export interface ModelStats {
  /** Bytes in use. */
  memory: MemoryUse;
  /** Calls that run or wait. */
  activeRequests: number;
  /** Encoded images in memory. */
  images: number;
  /** Tiles that went through the encoder since loading. */
  encodedTiles: number;
  /** Times an image was projected to cross-attention keys and values of a layer, since loading. */
  crossProjections: number;
}

/** What `inspect` answers: the checkpoint without its weights loaded. */
export interface Inspection extends ModelInfo {
  /** The decoder's program, one line an operation. */
  program: string[];
}
