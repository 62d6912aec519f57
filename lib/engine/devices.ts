/** What models can run on here. */

import type { Device } from '../types/output.js';
import { addon, answerOf, cudaLibrary } from './native.js';

/** The devices of this machine: the CPU, then every GPU. Where there is no GPU, the entry `cuda` says why. */
export function devices(): Promise<Device[]> {
  return answerOf(done => addon().devices(cudaLibrary('auto'), done));
}
