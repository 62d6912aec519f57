/** The public surface, and nothing else. */

export { bundledModels } from './checkpoint.js';
export { type Device, devices } from './devices.js';
export type { EncodedImage } from './encoded-image.js';
export { type ErrorDescription, errorTable, NvlmError, type NvlmErrorCode } from './errors.js';
export { inspect, load, type Model } from './model.js';
export type { TextStream } from './stream.js';
export { type TileOptions, type Tiles, tileImage } from './tile-image.js';
export type {
  ChosenLogprob,
  ContentPart,
  FinishReason,
  GenerateOptions,
  GenerateResult,
  ImageInput,
  ImageOptions,
  ImagePart,
  ImageUsage,
  Inspection,
  LoadOptions,
  LoadProgress,
  LogEntry,
  MemoryUse,
  Message,
  ModelInfo,
  ModelStats,
  RawImage,
  StreamPart,
  TextPart,
  Timings,
  TokenCount,
  TokenLogprob,
  Usage,
} from './types.js';
