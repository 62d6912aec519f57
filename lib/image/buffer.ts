/** The same bytes with Buffer's readers. */

/** A Buffer over the memory of `bytes`, no copy; of its first `length` bytes where that is fewer. */
export function bufferOf(bytes: Uint8Array, length = bytes.byteLength): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, length));
}
