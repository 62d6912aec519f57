/** What models can run on here. */

import { native } from './native.js';

/** A device, usable or not. */
export interface Device {
  /** What the load option `device` takes. */
  id: string;
  name: string;
  available: boolean;
  /** Why it is not available; null if it is. */
  reason: string | null;
  /** Instruction set of the CPU kernels that was chosen; null for other devices. */
  instructionSet: string | null;
  /** Bytes, the control group's limit included. */
  memoryTotal: number;
  /** Bytes. */
  memoryFree: number;
  threads: number;
}

/** The devices of this machine. */
export function devices(): Device[] {
  return native()
    .devices()
    .map(device => ({ ...device }));
}
