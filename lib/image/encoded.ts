/** The handle of an image whose tiles have been through the encoder. */

import type { EncodedImage, ImageUsage } from '../types/output.js';

/** An image in the engine: what a handle stands for. `owner` is the engine client that it lies in, `id` the engine's own. */
export interface StoredImage {
  owner: object;
  id: number;
  usage: ImageUsage;
  release: (id: number) => void;
  released: boolean;
}

// A WeakMap as brand: no user object can pretend to be a handle, and no instanceof is needed.
const storedImages = new WeakMap<object, StoredImage>();

// A handle that nobody holds any more frees its image. What it stands for must not reach the handle, or it would never be collected.
const collected = new FinalizationRegistry<StoredImage>(freeImage);

/** The handle that `model.encodeImage` gives out. */
class ImageHandle implements EncodedImage {
  readonly bytes: number;

  constructor(bytes: number) {
    this.bytes = bytes;
  }

  get usage(): ImageUsage {
    const { usage } = storedImages.get(this) as StoredImage;
    return { ...usage };
  }

  release(): void {
    const stored = storedImages.get(this);
    if (stored === undefined) return;
    collected.unregister(this);
    freeImage(stored);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** A new handle of an image that takes `bytes` in the engine. */
export function createHandle(image: Omit<StoredImage, 'released'>, bytes: number): EncodedImage {
  const handle = new ImageHandle(bytes);
  const stored = { ...image, released: false };
  storedImages.set(handle, stored);
  collected.register(handle, stored, handle);
  return handle;
}

/** What a value stands for if it is a handle. */
export function storedImage(value: unknown): Readonly<StoredImage> | undefined {
  return typeof value === 'object' && value !== null ? storedImages.get(value) : undefined;
}

function freeImage(stored: StoredImage): void {
  if (stored.released) return;
  stored.released = true;
  stored.release(stored.id);
}
