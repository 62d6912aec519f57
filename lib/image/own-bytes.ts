/**
 * Copies of bytes that a caller holds. A caller can transfer or shrink a buffer at any time, which would free memory that other threads still
 * read, and no reference prevents that. So other threads only ever see copies.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { NvlmError } from '../errors.js';

/** Bytes copied in one go: takes far less than a millisecond even where every page of the copy must first be found. */
const PIECE = 64 * 1024;

/** Milliseconds of one turn of the event loop that all copies together may take. */
const BUDGET = 1;

/** How much of it is spent. */
let spent = 0;

/**
 * A copy of the first `length` bytes. It begins at the call and goes on in later turns of the event loop if it takes long; bytes that are
 * no longer there then are refused with `bad-messages`, too many with `out-of-memory`. `where` is what they are called in the message.
 */
export async function ownBytes(bytes: Uint8Array | Uint8ClampedArray, length: number, where: string): Promise<Buffer> {
  const { buffer, byteOffset } = bytes;
  const copy = reserve(length, where);
  for (let at = 0; at < length; at += PIECE) {
    while (isSpent()) await nextTurn();
    const started = performance.now();
    copy.set(stillThere(buffer, byteOffset + at, Math.min(PIECE, length - at), where), at);
    spend(performance.now() - started);
  }
  return copy;
}

function isSpent(): boolean {
  return spent >= BUDGET;
}

/** The next turn has its whole budget again; this is set up before anyone can wait for that turn. */
function spend(milliseconds: number): void {
  if (spent === 0) {
    setImmediate(() => {
      spent = 0;
    });
  }
  spent += milliseconds;
}

function reserve(length: number, where: string): Buffer {
  try {
    return Buffer.allocUnsafeSlow(length);
  } catch (cause) {
    throw new NvlmError(
      'out-of-memory',
      `${where} takes ${length} bytes, which cannot be reserved. Give a smaller image.`,
      { cause },
    );
  }
}

function stillThere(buffer: ArrayBufferLike, offset: number, length: number, where: string): Uint8Array {
  try {
    return new Uint8Array(buffer, offset, length);
  } catch (cause) {
    const message = `${where} was transferred or shrunk before all of its bytes were read. Leave it alone until the call is over.`;
    throw new NvlmError('bad-messages', message, { cause });
  }
}
