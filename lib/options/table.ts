/**
 * The one table of options. A row says how a value is checked, what stands for it where it is left out, and what messages, flags of the
 * command line and docs/api.md say of it. A key in types/input.ts without a row does not compile.
 */

import type { GenerateOptions, ImageOptions, LoadOptions, TileOptions } from '../types/input.js';

interface Row {
  /** What docs/api.md says of it; Markdown. */
  readonly text: string;
  /** The default in words, where the value alone does not say it. */
  readonly fallback?: string;
  /** What the command line says of it: the flag's argument and its help. */
  readonly flag?: { readonly argument?: string; readonly help: string };
}

/** A number from `min` to `max`, both included. */
export interface NumberOption extends Row {
  readonly kind: 'integer' | 'number';
  readonly min: number;
  readonly max: number;
  readonly default?: number;
  /** The key of generation_config.json that replaces the default. */
  readonly checkpoint?: string;
}

export interface BooleanOption extends Row {
  readonly kind: 'boolean';
  readonly default: boolean;
}

/** One text or several, none empty. */
export interface TextsOption extends Row {
  readonly kind: 'texts';
  /** Most texts. */
  readonly most: number;
  /** Most UTF-16 units of each. */
  readonly longest: number;
}

/** What has no range; `other` is checked where it is read. */
export interface PlainOption extends Row {
  readonly kind: 'device' | 'function' | 'signal' | 'other';
  readonly default?: string;
}

export type Option = NumberOption | BooleanOption | TextsOption | PlainOption;

type OptionFor<V> = [V] extends [boolean]
  ? BooleanOption
  : [V] extends [number]
    ? NumberOption
    : TextsOption | PlainOption;

/** A row for every key of an options type, of a kind that fits the key's type. */
type Rows<T> = { readonly [K in keyof T]-?: OptionFor<Exclude<T[K], undefined>> };

const signal = { kind: 'signal', text: 'aborts the call, which rejects with `aborted`' } as const;

/** What `load` and `inspect` take. */
export const loadOptions = {
  device: {
    kind: 'device',
    default: 'auto',
    text:
      "`'auto'`, `'cpu'`, `'cuda'`, `'cuda:1'`, …; `'auto'` takes the first GPU that can be used, else the CPU, and tells `onLog` why; " +
      "a GPU that is asked for and can't be used is `device-unavailable`, with the reason",
    flag: { argument: '<name>', help: 'auto, cpu, cuda or cuda:N; nvlm devices lists them' },
  },
  threads: {
    kind: 'integer',
    min: 1,
    max: 1024,
    fallback: 'one per core',
    text: 'CPU threads; the pool is shared by all models of the process',
    flag: { argument: '<n>', help: 'CPU threads' },
  },
  maxTiles: {
    kind: 'integer',
    min: 1,
    max: 12,
    fallback: "the checkpoint's max_dynamic_patch",
    text: 'most tiles of an image, thumbnail not counted; tags above 6 were never trained',
    flag: { argument: '<n>', help: 'most tiles of an image' },
  },
  contextLength: {
    kind: 'integer',
    min: 16,
    max: 1048576,
    fallback: "the checkpoint's, at most 8192",
    text: 'positions of one sequence, prompt and answer together',
    flag: { argument: '<n>', help: 'positions of one sequence' },
  },
  maxSequences: {
    kind: 'integer',
    min: 1,
    max: 64,
    default: 2,
    text: 'generations that run at once; more wait their turn. Key/value memory is planned for all of them',
  },
  maxImages: {
    kind: 'integer',
    min: 1,
    max: 256,
    default: 8,
    text: 'most images of a prompt; memory is planned for all of them',
  },
  maxPixels: {
    kind: 'integer',
    min: 1,
    max: 1e9,
    default: 1e8,
    text: 'pixels of an image, looked at before it is decoded',
  },
  onProgress: { kind: 'function', text: 'called with the bytes loaded so far and in all' },
  onLog: { kind: 'function', text: 'called with what there is to tell; the library itself prints nothing' },
  signal: { kind: 'signal', text: 'aborts the load' },
} as const satisfies Rows<LoadOptions>;

/** What `generate` and `stream` take. */
export const callOptions = {
  messages: {
    kind: 'other',
    fallback: 'required',
    text: '`{ role, content }`; roles `system` (first only), `user`, `assistant`; content a string or parts',
  },
  images: {
    kind: 'other',
    fallback: 'none',
    text: "images apart from the text: they stand in front of the first user turn's text",
  },
  maxTokens: {
    kind: 'integer',
    min: 1,
    max: 1048576,
    default: 1024,
    checkpoint: 'max_new_tokens',
    text: 'tokens to answer at most; clipped to the room the prompt leaves',
    flag: { argument: '<n>', help: 'tokens to answer at most' },
  },
  temperature: {
    kind: 'number',
    min: 0,
    max: 100,
    default: 1,
    checkpoint: 'temperature',
    fallback: "0 unless the checkpoint's `do_sample` is true; then its `temperature`, else 1",
    text: '0 takes the likeliest token',
    flag: { argument: '<t>', help: '0 takes the likeliest token' },
  },
  topK: {
    kind: 'integer',
    min: 0,
    max: 1048576,
    default: 0,
    checkpoint: 'top_k',
    text: 'sample among this many likeliest tokens; 0: all. The first filter after the temperature',
    flag: { argument: '<n>', help: 'sample among so many tokens' },
  },
  topP: {
    kind: 'number',
    min: Number.MIN_VALUE,
    max: 1,
    default: 1,
    checkpoint: 'top_p',
    text: 'sample among the likeliest tokens that together have this probability. The second filter',
    flag: { argument: '<p>', help: 'sample among the likeliest tokens of this probability' },
  },
  minP: {
    kind: 'number',
    min: 0,
    max: 1,
    default: 0,
    checkpoint: 'min_p',
    text: 'leave out tokens less likely than this times the likeliest. The third filter',
  },
  repetitionPenalty: {
    kind: 'number',
    min: 0.01,
    max: 100,
    default: 1,
    checkpoint: 'repetition_penalty',
    text: 'above 1 makes tokens of prompt and answer less likely',
  },
  presencePenalty: {
    kind: 'number',
    min: -100,
    max: 100,
    default: 0,
    text: 'taken from the logit of every token already answered',
  },
  frequencyPenalty: {
    kind: 'number',
    min: -100,
    max: 100,
    default: 0,
    text: 'taken from the logit of a token once per time it was answered',
  },
  seed: {
    kind: 'integer',
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    fallback: 'drawn',
    text: 'same seed, same text, whatever runs beside it; told in the result',
    flag: { argument: '<n>', help: 'same seed, same text' },
  },
  stop: {
    kind: 'texts',
    most: 16,
    longest: 1024,
    fallback: 'none',
    text: 'texts that end the answer; matched on bytes; never part of the answer, not even in pieces',
    flag: { argument: '<text...>', help: 'texts that end the answer' },
  },
  logprobs: {
    kind: 'boolean',
    default: false,
    text: "whether to return every token's log-probability: natural, of the model's own distribution",
  },
  topLogprobs: {
    kind: 'integer',
    min: 0,
    max: 20,
    fallback: '0',
    text: 'and those of this many likeliest tokens at each place; needs `logprobs: true`',
  },
  signal,
} as const satisfies Rows<GenerateOptions>;

/** What `countTokens` takes. */
export const countOptions = { messages: callOptions.messages, images: callOptions.images } as const;

/** What an image part takes beside its image. */
export const imageOptions = {
  maxTiles: {
    ...loadOptions.maxTiles,
    fallback: "the model's",
    text: "most tiles of the image, thumbnail not counted; never more than the model's",
  },
  orient: {
    kind: 'boolean',
    default: true,
    text: "whether the orientation that the file's EXIF or XMP gives is applied",
    flag: { help: 'do not apply the EXIF orientation' },
  },
} as const satisfies Rows<ImageOptions>;

/** What `encodeImage` takes. */
export const encodeOptions = { ...imageOptions, signal } as const;

/** What `tileImage` takes. */
export const tileOptions = {
  model: { kind: 'other', default: 'nvlm-tiny-d', text: 'model whose tiling is used, by name or folder' },
  maxTiles: loadOptions.maxTiles,
  orient: imageOptions.orient,
  maxPixels: loadOptions.maxPixels,
} as const satisfies Rows<TileOptions>;
