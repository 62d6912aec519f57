/** The types of what people pass in: images, messages, options. Each field gives unit, default and range. */

import type { EncodedImage } from './output.js';

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
 * WebP, GIF, TIFF and AVIF; of several frames or pages the first. Nothing is fetched: http(s) URLs are refused.
 */
export type ImageInput = string | URL | Uint8Array | ArrayBuffer | Blob | RawImage | EncodedImage;

/** How one image is read and tiled. */
export interface ImageOptions {
  /** Most tiles, thumbnail not counted; 1 to the model's maxTiles. Default: the model's. */
  maxTiles?: number;
  /** Whether the orientation that the file's EXIF or XMP gives is applied. Default: true. */
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

/** An entry for `onLog`; the library prints nothing itself. */
export interface LogEntry {
  level: 'info' | 'warn';
  message: string;
}

/** Progress of a load. */
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
  /** Called as loading proceeds. */
  onProgress?: (progress: LoadProgress) => void;
  /** Called with what the library would otherwise print. Default: none. */
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

/** Options of `tileImage`. */
export interface TileOptions extends ImageOptions {
  /** Model whose tiling is used, by name or folder. Default: `nvlm-tiny-d`. */
  model?: string;
  /** Pixels the image may have, 1 to 1e9. Default: 1e8. */
  maxPixels?: number;
}
