/** What a checkpoint is, as `inspect` and `model.info` answer it. */

import type { NativeDescription } from '../engine/native-types.js';
import type { ModelInfo } from '../types/output.js';
import type { Checkpoint } from './checkpoint.js';

/** Puts together what the files say and what the engine says. Nested objects are copies, so that a caller may change them. */
export function infoOf(checkpoint: Checkpoint, description: NativeDescription, license: string | null): ModelInfo {
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
