/** The options of `load`: names, ranges, defaults. */

import { NvlmError } from './errors.js';
import type { NativeLoadOptions } from './native-types.js';
import { asObject, checkKeys, optionalFunction, optionalNumber, optionalSignal, show } from './options.js';
import type { LoadProgress, LogEntry } from './types.js';

const DEFAULT_MAX_PIXELS = 1e8;
const DEFAULT_MAX_SEQUENCES = 2;
const DEFAULT_MAX_IMAGES = 8;

/** Options of `load`, checked; 0 in `native` leaves the choice to the checkpoint or the machine. */
export interface LoadSettings {
  native: Omit<NativeLoadOptions, 'folder'>;
  maxPixels: number;
  onProgress: ((progress: LoadProgress) => void) | undefined;
  onLog: ((entry: LogEntry) => void) | undefined;
  signal: AbortSignal | undefined;
}

/** Checks the options of `load` and `inspect`. */
export function interpretLoad(value: unknown): LoadSettings {
  const options = asObject(value, 'options');
  const known = [
    'device',
    'threads',
    'maxTiles',
    'contextLength',
    'maxSequences',
    'maxImages',
    'maxPixels',
    'onProgress',
    'onLog',
    'signal',
  ];
  checkKeys(options, known, 'options');
  const count = (name: string, min: number, max: number, fallback: string): number | undefined =>
    optionalNumber(options[name], `options.${name}`, { min, max, integer: true, fallback });
  const device = options['device'] ?? 'auto';
  if (typeof device !== 'string') {
    throw new NvlmError('bad-option', `Expected 'auto' or 'cpu' for options.device but received ${show(device)}. Leave it out for 'auto'.`);
  }
  if (device !== 'auto' && device !== 'cpu') {
    throw new NvlmError(
      'device-unavailable',
      `There is no device ${show(device)} here. Use 'cpu', or leave options.device out for 'auto'.`,
    );
  }
  return {
    native: {
      device,
      threads: count('threads', 1, 1024, 'one per core') ?? 0,
      maxTiles: count('maxTiles', 1, 12, "the checkpoint's max_dynamic_patch") ?? 0,
      contextLength: count('contextLength', 16, 1048576, "the checkpoint's, at most 8192") ?? 0,
      maxSequences: count('maxSequences', 1, 64, String(DEFAULT_MAX_SEQUENCES)) ?? DEFAULT_MAX_SEQUENCES,
      maxImages: count('maxImages', 1, 256, String(DEFAULT_MAX_IMAGES)) ?? DEFAULT_MAX_IMAGES,
    },
    maxPixels: count('maxPixels', 1, 1e9, String(DEFAULT_MAX_PIXELS)) ?? DEFAULT_MAX_PIXELS,
    onProgress: optionalFunction(options['onProgress'], 'options.onProgress') as LoadSettings['onProgress'],
    onLog: optionalFunction(options['onLog'], 'options.onLog') as LoadSettings['onLog'],
    signal: optionalSignal(options['signal'], 'options.signal'),
  };
}
