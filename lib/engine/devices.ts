/** What models can run on here. */

import type { Device } from '../types/output.js';
import { addon, asPromise, cudaLibrary } from './native.js';

/** The devices of this machine: the CPU, then every GPU. Where there is no GPU, the entry `cuda` says why. */
export function devices(): Promise<Device[]> {
  return asPromise(done => addon().devices(cudaLibrary('auto'), done));
}
