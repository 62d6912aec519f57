// Where building puts things. `out/` holds CMake's trees and stamps; `build/Release` only the finished addon, because node-gyp
// deletes `build/` on every rebuild and node-gyp-build looks for the addon there.
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
export const inRoot = (...parts) => path.join(root, ...parts);

export const addonFile = inRoot('build', 'Release', 'nvlm.node');
// Beside the addon, where nvcc was found.
export const cudaFile = inRoot('build', 'Release', 'nvlm_cuda.so');
export const releaseTree = inRoot('out', 'release');
export const nativeTests = path.join(releaseTree, 'test', 'native');
export const stampFolder = inRoot('out', 'stamps');
