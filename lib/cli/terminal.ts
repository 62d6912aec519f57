/** What the commands share of the terminal: standard input, progress, interruption, sizes. */

import { buffer } from 'node:stream/consumers';
import type { LoadProgress, LogEntry } from '../index.js';

/** An image argument: `-` is standard input, anything else is for the library to judge. */
export async function imageArgument(argument: string): Promise<string | Uint8Array> {
  return argument === '-' ? buffer(process.stdin) : argument;
}

/** Shows load progress on stderr, if that is a terminal; else nothing. */
export function progressLine(): { onProgress?: (progress: LoadProgress) => void; clear: () => void } {
  if (!process.stderr.isTTY) return { clear: () => {} };
  return {
    onProgress: ({ loaded, total }) =>
      process.stderr.write(`\rLoading ${Math.floor((100 * loaded) / Math.max(total, 1))}%`),
    clear: () => process.stderr.write('\r\x1b[K'),
  };
}

/** Shows on stderr what the library warns of. */
export function printWarning({ level, message }: LogEntry): void {
  if (level === 'warn') process.stderr.write(`nvlm: ${message}\n`);
}

/** A signal that Ctrl-C aborts. `done` gives Ctrl-C back its usual meaning. */
export function interruptSignal(): { signal: AbortSignal; done: () => void } {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  process.once('SIGINT', abort);
  return { signal: controller.signal, done: () => process.removeListener('SIGINT', abort) };
}

/** Bytes for people. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
