/** The public surface, and nothing else. */

export { bundledModels } from './model/checkpoint.js';
export { type Device, devices } from './engine/devices.js';
export type { EncodedImage } from './image/encoded.js';
export { type ErrorDescription, errorTable, NvlmError, type NvlmErrorCode } from './errors.js';
export { inspect, load, type Model } from './model/model.js';
export type { TextStream } from './model/stream.js';
export { type TileOptions, type Tiles, tileImage } from './model/tile-image.js';
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
