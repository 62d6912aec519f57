/** The only file that loads the addon. What crosses is typed in native-types.ts. */

import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fromNative, type NativeFailure, NvlmError } from '../errors.js';
import type { NativeAddon, NativeCallback } from './native-types.js';

/** The addon's interface this library was written for. */
const INTERFACE_VERSION = 2;

/** The package's folder: dist/ lies in it. */
export const packageFolder = join(__dirname, '..', '..');

/** What node-gyp-build exports. */
interface AddonFinder {
  (folder: string): NativeAddon;
  resolve(folder: string): string;
}

let loaded: NativeAddon | undefined;

/** The addon, loaded on first need. */
export function addon(): NativeAddon {
  loaded ??= loadAddon();
  return loaded;
}

/** An asynchronous native call as a promise. */
export function asPromise<T>(start: (done: NativeCallback<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((failure, value) => {
      if (failure !== null) reject(fromNative(failure));
      else resolve(value as T);
    });
  });
}

/**
 * The CUDA library that `device` may need: the one that NVLM_CUDA_LIBRARY names, else the one beside the addon; empty if there is none.
 * For tests NVLM_EMULATOR_LIBRARY names what stands in for a GPU.
 */
export function cudaLibrary(device: string): string {
  if (device === 'cpu') return '';
  if (device === 'emulator') return process.env['NVLM_EMULATOR_LIBRARY'] ?? '';
  const named = process.env['NVLM_CUDA_LIBRARY'];
  if (named !== undefined) return named;
  addon(); // says what is wrong where there is no addon
  const beside = join(dirname(addonFinder().resolve(packageFolder)), 'nvlm_cuda.so');
  return existsSync(beside) ? beside : '';
}

/** Whether a native call answered that it could not do its work. */
export function isFailure(answer: unknown): answer is NativeFailure {
  return typeof answer === 'object' && answer !== null && typeof (answer as NativeFailure).code === 'string';
}

function addonFinder(): AddonFinder {
  return require('node-gyp-build') as AddonFinder;
}

function loadAddon(): NativeAddon {
  let found: NativeAddon;
  try {
    found = addonFinder()(packageFolder);
  } catch (cause) {
    throw notFound((cause as Error).message, cause);
  }
  if (found.interfaceVersion !== INTERFACE_VERSION) {
    throw notFound(`the addon found has interface ${found.interfaceVersion}, this library needs ${INTERFACE_VERSION}`);
  }
  return found;
}

function notFound(why: string, cause?: unknown): NvlmError {
  const platform = `${process.platform}-${process.arch}`;
  const lines = [
    `The native addon could not be loaded for ${platform} (Node ${process.versions.node}): ${why.split('\n')[0]}`,
    'Tried:',
    `- a build of this machine in ${join(packageFolder, 'build', 'Release')}: ${listing(join(packageFolder, 'build', 'Release'))}`,
    `- a prebuild in ${join(packageFolder, 'prebuilds', platform)}: ${listing(join(packageFolder, 'prebuilds', platform))}`,
    'Possible solutions:',
    '- let the package build itself: npm rebuild nvlm (needs Python 3, CMake, make and a C++20 compiler; on Debian: apt install build-essential cmake python3)',
    '- if install scripts are blocked, allow them for nvlm, then: npm rebuild nvlm',
    '- install on the platform the program will run on; node_modules from another system or libc does not work',
  ];
  return new NvlmError('addon-not-found', lines.join('\n'), { cause });
}

function listing(folder: string): string {
  if (!existsSync(folder)) return 'no such folder';
  const files = readdirSync(folder).filter(name => name.endsWith('.node'));
  return files.length === 0 ? 'no .node file' : files.join(', ');
}
