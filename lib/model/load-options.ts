/** The options of `load`: names, ranges, defaults. */

import { asObject, checkKeys, optionalFunction, optionalNumber, optionalSignal, show } from '../checks.js';
import type { NativeLoadOptions } from '../engine/native-types.js';
import { NvlmError } from '../errors.js';
import type { LoadProgress, LogEntry } from '../types/input.js';

const DEFAULT_MAX_PIXELS = 1e8;
const DEFAULT_MAX_SEQUENCES = 2;
const DEFAULT_MAX_IMAGES = 8;

/** Options of `load`, checked; 0 in `native` leaves the choice to the checkpoint or the machine. */
export interface LoadSettings {
  native: Omit<NativeLoadOptions, 'folder' | 'cudaLibrary'>;
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
  return {
    native: {
      device: interpretDevice(options['device']),
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

function interpretDevice(device: unknown = 'auto'): string {
  if (typeof device === 'string') {
    if (/^(auto|cpu|cuda(:\d{1,3})?)$/.test(device)) return device;
    // What the tests load in place of a GPU; see docs/contributing.md.
    if (device === 'emulator' && process.env['NVLM_EMULATOR_LIBRARY'] !== undefined) return device;
  }
  throw new NvlmError(
    'bad-option',
    `Expected 'auto', 'cpu', 'cuda' or 'cuda:N' for options.device but received ${show(device)}. Leave it out for 'auto'.`,
  );
}
