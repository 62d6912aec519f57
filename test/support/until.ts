/** Waits until something is so; fails the test if that takes longer than `patience` milliseconds. */

import { setTimeout as sleep } from 'node:timers/promises';

export async function until(isSo: () => boolean, patience = 5000): Promise<void> {
  const started = performance.now();
  while (!isSo()) {
    if (performance.now() - started > patience)
      throw new Error(`It was not so within ${patience} ms: ${isSo.toString()}`);
    await sleep(5);
  }
}
