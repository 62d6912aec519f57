/** What models can run on here. */

import { fromNative } from '../errors.js';
import { cudaLibrary, native } from './native.js';

/** A device, usable or not. */
export interface Device {
  /** What the load option `device` takes: `cpu`, `cuda:0`, …; `cuda` alone where there is no GPU to number. */
  id: string;
  /** What it calls itself; null where there is none. */
  name: string | null;
  available: boolean;
  /** Why it is not available, and what would mend that; null if it is. */
  reason: string | null;
  /** Bytes; of the CPU, the control group's limit included. 0 where it is not known. */
  memoryFree: number;
  /** Bytes, as above. */
  memoryTotal: number;
  /** Of a GPU, such as `9.0`; else null. */
  computeCapability: string | null;
  /** The newest CUDA version that the GPU's driver knows, such as `13.0`; null without a driver. */
  driver: string | null;
  /** Instruction set of the CPU kernels that was chosen; null for other devices. */
  instructionSet: string | null;
  /** CPU threads a model gets by default; 0 for other devices. */
  threads: number;
}

/** The devices of this machine: the CPU, then every GPU. Where there is no GPU, the entry `cuda` says why. */
export function devices(): Promise<Device[]> {
  return new Promise((resolve, reject) => {
    native().devices(cudaLibrary('auto'), (failure, found) => {
      if (failure !== null) reject(fromNative(failure));
      else resolve(found ?? []);
    });
  });
}
