/** The options of `load` and `inspect`, checked and complete. */

import type { NativeLoadOptions } from '../engine/native-types.js';
import { checkOptions, knownOptions } from '../options/read.js';
import { loadOptions } from '../options/table.js';
import type { LoadProgress, LogEntry } from '../types/input.js';

/** What a model is loaded with; 0 in `native` leaves the choice to the checkpoint or the machine. */
export interface LoadSettings {
  native: Omit<NativeLoadOptions, 'folder' | 'cudaLibrary'>;
  maxPixels: number;
  onProgress: ((progress: LoadProgress) => void) | undefined;
  onLog: ((entry: LogEntry) => void) | undefined;
  signal: AbortSignal | undefined;
}

/** Checks the options of `load` and `inspect`. */
export function interpretLoad(value: unknown): LoadSettings {
  const checked = checkOptions(knownOptions(value, loadOptions), loadOptions);
  const { device, threads, maxTiles, contextLength, maxSequences, maxImages, maxPixels, signal } = checked;
  return {
    native: {
      device,
      threads: threads ?? 0,
      maxTiles: maxTiles ?? 0,
      contextLength: contextLength ?? 0,
      maxSequences,
      maxImages,
    },
    maxPixels,
    onProgress: checked.onProgress as LoadSettings['onProgress'],
    onLog: checked.onLog as LoadSettings['onLog'],
    signal,
  };
}
