/** The options of `generate` and `stream`, checked and complete. */

import { randomInt } from 'node:crypto';
import type { NativeSampling } from '../engine/native-types.js';
import { NvlmError } from '../errors.js';
import { checkOptions, knownOptions, withDefaults } from '../options/read.js';
import { callOptions } from '../options/table.js';
import { type CallImage, interpretMessages } from '../prompt/messages.js';
import type { PromptMessage } from '../prompt/templates.js';
import type { ModelState } from './state.js';

/** A call as it is run. */
export interface Call {
  messages: PromptMessage[];
  images: CallImage[];
  maxTokens: number;
  sampling: NativeSampling;
  stop: string[];
  signal: AbortSignal | undefined;
}

/** Checks the options of a call and fills in the checkpoint's defaults. */
export function interpretCall(value: unknown, { defaults, limits }: ModelState): Call {
  const checked = checkOptions(knownOptions(value, callOptions), withDefaults(callOptions, defaults.options));
  const { messages, images, maxTokens, seed, stop, logprobs, topLogprobs, signal, ...sampling } = checked;
  return {
    ...interpretMessages(messages, images, limits),
    maxTokens,
    sampling: {
      ...sampling,
      seed: seed ?? randomInt(2 ** 48 - 1),
      topLogprobs: interpretLogprobs(logprobs, topLogprobs),
    },
    stop: stop ?? [],
    signal,
  };
}

/** What the engine takes for both options: -1: no logprobs; n: of the chosen token and of the n likeliest. */
function interpretLogprobs(logprobs: boolean, top: number | undefined): number {
  if (logprobs) return top ?? 0;
  if (top === undefined) return -1;
  throw new NvlmError(
    'bad-option',
    `options.topLogprobs is ${top}, but options.logprobs is not true. Set logprobs: true as well.`,
  );
}
