/** The handle of an image whose tiles have been through the encoder. */

import type { ImageUsage } from '../types.js';

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

/** An image that `model.encodeImage` encoded: give it wherever that model takes an image, and the encoder does not run again. */
export class EncodedImage {
  /** Bytes it holds in the engine. */
  readonly bytes: number;

  /** Made by `model.encodeImage` only. */
  private constructor(bytes: number) {
    this.bytes = bytes;
  }

  /** @internal */
  static create(state: Omit<HandleState, 'released'>, bytes: number): EncodedImage {
    const image = new EncodedImage(bytes);
    const whole = { ...state, released: false };
    states.set(image, whole);
    collected.register(image, whole, image);
    return image;
  }

  /** Size, grid and tokens. */
  get usage(): ImageUsage {
    const { usage } = states.get(this) as HandleState;
    return { ...usage };
  }

  /** Frees the image once no running call uses it. Later use is refused with `closed`. Idempotent. */
  release(): void {
    const state = states.get(this);
    if (state === undefined) return;
    collected.unregister(this);
    freeImage(state);
  }

  /** The same as {@link EncodedImage.release}. */
  [Symbol.dispose](): void {
    this.release();
  }
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
