/** The types of what people get back: answers, what they cost, encoded images, descriptions of models and devices. */

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
  /** Pictures in its file: frames of an animation, pages. Only the first is read. 1 for most files, and for raw pixels. */
  pages: number;
}

/** An image that `model.encodeImage` encoded: give it wherever that model takes an image, and the encoder does not run again. */
export interface EncodedImage {
  /** Bytes it holds in the engine. */
  readonly bytes: number;
  /** Size, grid and tokens. */
  readonly usage: ImageUsage;
  /** Frees the image once no running call uses it. Later use is refused with `closed`. Idempotent. */
  release(): void;
  /** The same as {@link EncodedImage.release}. */
  [Symbol.dispose](): void;
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

/** An image cut as a model sees it. */
export interface Tiles {
  /** Pixels of the image, after orientation. */
  width: number;
  height: number;
  /** Pictures in its file; only the first is read. */
  pages: number;
  columns: number;
  rows: number;
  /** Side of a tile in pixels. */
  tileSize: number;
  /** Tag of each tile; the thumbnail comes last. */
  tags: string[];
  /** RGB of each tile, tileSize·tileSize·3 bytes, in the order of the tags. */
  pixels: Uint8Array[];
}

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

/** Architectures of the NVLM 1.0 family, as `inspect` and `model.info` name them. */
export type Architecture = 'NVLM-D' | 'NVLM-X' | 'NVLM-H';

/** What a checkpoint is; part of `model.info`, and what `inspect` answers. */
export interface ModelInfo {
  /** The name or path it was asked for by. */
  name: string;
  /** The checkpoint's folder. */
  folder: string;
  architecture: Architecture;
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

/** A device, usable or not. */
export interface Device {
  /** What the load option `device` takes: `cpu`, `cuda:0`, …; `cuda` alone where there is no GPU to number. */
  id: string;
  /** What it calls itself; null where there is none. */
  name: string | null;
  available: boolean;
  /** Why it is not available, and what would fix that; null if it is. */
  reason: string | null;
  /** Bytes; of the CPU, the control group's limit included. 0 where it is not known. */
  memoryFree: number;
  /** Bytes, as above. */
  memoryTotal: number;
  /** Of a GPU, such as `9.0`; else null. */
  computeCapability: string | null;
  /** The newest CUDA version that the GPU's driver knows, such as `13.0`; null without a driver. */
  driver: string | null;
  /** Instruction set of the CPU kernels that was chosen; null for other devices. */
  instructionSet: string | null;
  /** CPU threads a model gets by default; 0 for other devices. */
  threads: number;
}
