/** Catches what a call throws or rejects with, so that a test can look at code and message. */

import { NvlmError } from 'nvlm';

/** The NvlmError of `call`; fails the test if there is none, or another error. */
export async function failureOf(call: () => unknown): Promise<NvlmError> {
  let answer: unknown;
  try {
    answer = await call();
  } catch (error) {
    if (NvlmError.is(error)) return error;
    throw error;
  }
  throw new Error(`Expected an NvlmError, but the call answered ${String(answer)}.`);
}
