/** The public surface, and nothing else. */

export { devices } from './engine/devices.js';
export { type ErrorDescription, errorTable, NvlmError, type NvlmErrorCode } from './errors.js';
export { bundledModels } from './model/checkpoint.js';
export { inspect, load } from './model/load.js';
export type { Model } from './model/model.js';
export type { TextStream } from './model/stream.js';
export { tileImage } from './model/tile-image.js';
export type {
  ContentPart,
  GenerateOptions,
  ImageInput,
  ImageOptions,
  ImagePart,
  LoadOptions,
  LoadProgress,
  LogEntry,
  Message,
  RawImage,
  TextPart,
  TileOptions,
} from './types/input.js';
export type {
  ChosenLogprob,
  Device,
  EncodedImage,
  FinishReason,
  GenerateResult,
  ImageUsage,
  Inspection,
  MemoryUse,
  ModelInfo,
  ModelStats,
  StreamPart,
  Tiles,
  Timings,
  TokenCount,
  TokenLogprob,
  Usage,
} from './types/output.js';
