/** The handle of an image whose tiles have been through the encoder. */

import type { EncodedImage, ImageUsage } from '../types/output.js';

/** What a handle stands for; `owner` is the engine client that made it. */
interface HandleState {
  owner: object;
  handle: number;
  usage: ImageUsage;
  release: (handle: number) => void;
  released: boolean;
}

// A WeakMap as brand: no user object can pretend to be a handle, and no instanceof is needed.
const states = new WeakMap<object, HandleState>();

// A handle that nobody holds any more frees its image. The state must not reach the handle, or it would never be collected.
const collected = new FinalizationRegistry<HandleState>(freeImage);

/** The handle that `model.encodeImage` gives out. */
class ImageHandle implements EncodedImage {
  readonly bytes: number;

  constructor(bytes: number) {
    this.bytes = bytes;
  }

  get usage(): ImageUsage {
    const { usage } = states.get(this) as HandleState;
    return { ...usage };
  }

  release(): void {
    const state = states.get(this);
    if (state === undefined) return;
    collected.unregister(this);
    freeImage(state);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** A new handle of an image that takes `bytes` in the engine. */
export function createHandle(state: Omit<HandleState, 'released'>, bytes: number): EncodedImage {
  const handle = new ImageHandle(bytes);
  const whole = { ...state, released: false };
  states.set(handle, whole);
  collected.register(handle, whole, handle);
  return handle;
}

/** What a value stands for if it is a handle. */
export function encodedState(value: unknown): Readonly<HandleState> | undefined {
  return typeof value === 'object' && value !== null ? states.get(value) : undefined;
}

function freeImage(state: HandleState): void {
  if (state.released) return;
  state.released = true;
  state.release(state.handle);
}
