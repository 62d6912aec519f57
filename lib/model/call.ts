/** The options of `generate` and `stream`, checked and complete. */

import { randomInt } from 'node:crypto';
import { asObject, checkKeys, optionalBoolean, optionalNumber, optionalSignal, show } from '../checks.js';
import type { NativeSampling } from '../engine/native-types.js';
import { NvlmError } from '../errors.js';
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

const KNOWN_OPTIONS = [
  'messages',
  'images',
  'maxTokens',
  'temperature',
  'topK',
  'topP',
  'minP',
  'repetitionPenalty',
  'presencePenalty',
  'frequencyPenalty',
  'seed',
  'stop',
  'logprobs',
  'topLogprobs',
  'signal',
];

/** Checks the options of a call and fills in the checkpoint's defaults. */
export function interpretCall(value: unknown, state: ModelState): Call {
  const options = asObject(value, 'options');
  checkKeys(options, KNOWN_OPTIONS, 'options');
  const { defaults } = state;
  const number = (name: string, min: number, max: number, fallback: number, integer = false): number =>
    optionalNumber(options[name], `options.${name}`, { min, max, integer, fallback: String(fallback) }) ?? fallback;
  const { messages, images } = interpretMessages(options['messages'], options['images'], state.limits);
  return {
    messages,
    images,
    maxTokens: number('maxTokens', 1, 1048576, defaults.maxTokens, true),
    sampling: {
      temperature: number('temperature', 0, 100, defaults.temperature),
      topK: number('topK', 0, 1048576, defaults.topK, true),
      topP: number('topP', Number.MIN_VALUE, 1, defaults.topP),
      minP: number('minP', 0, 1, defaults.minP),
      repetitionPenalty: number('repetitionPenalty', 0.01, 100, defaults.repetitionPenalty),
      presencePenalty: number('presencePenalty', -100, 100, 0),
      frequencyPenalty: number('frequencyPenalty', -100, 100, 0),
      seed:
        optionalNumber(options['seed'], 'options.seed', {
          min: 0,
          max: Number.MAX_SAFE_INTEGER,
          integer: true,
          fallback: 'drawn',
        }) ?? randomInt(2 ** 48 - 1),
      topLogprobs: interpretLogprobs(options['logprobs'], options['topLogprobs']),
    },
    stop: interpretStop(options['stop']),
    signal: optionalSignal(options['signal'], 'options.signal'),
  };
}

function interpretLogprobs(wanted: unknown, top: unknown): number {
  const logprobs = optionalBoolean(wanted, 'options.logprobs') ?? false;
  const count = optionalNumber(top, 'options.topLogprobs', { min: 0, max: 20, integer: true, fallback: '0' });
  if (logprobs) return count ?? 0;
  if (count === undefined) return -1;
  throw new NvlmError(
    'bad-option',
    `options.topLogprobs is ${count}, but options.logprobs is not true. Set logprobs: true as well.`,
  );
}

function interpretStop(value: unknown): string[] {
  if (value === undefined) return [];
  const list: unknown[] = Array.isArray(value) ? value : [value];
  const fits = list.length <= 16 && list.every(text => typeof text === 'string' && text !== '' && text.length <= 1024);
  if (fits) return list as string[];
  throw new NvlmError(
    'bad-option',
    `Expected a text or at most 16 texts of 1 to 1024 characters for options.stop but received ${show(value)}. Leave it out if there is none.`,
  );
}
