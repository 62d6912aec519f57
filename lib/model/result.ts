/** What the engine says at the end of a request -> the result that a caller gets. */

import type { NativeEvent, NativeLogprob } from '../engine/native-types.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { ChosenLogprob, GenerateResult, Timings, TokenCount, TokenLogprob } from '../types/output.js';
import type { Answer } from './answer.js';
import type { Call } from './call.js';

type FinishEvent = Extract<NativeEvent, { type: 'finish' }>;

/** When a call started, and how long its images and text took to get ready; milliseconds. */
interface Stopwatch {
  started: number;
  decodeImage: number;
}

/** The whole result of a call that the engine has finished. */
export function resultOf(
  call: Call,
  answer: Answer,
  usage: Omit<TokenCount, 'room'>,
  event: FinishEvent,
  stopwatch: Stopwatch,
): GenerateResult {
  return {
    text: answer.text,
    finishReason: event.reason,
    stopString: call.stop[event.stopString] ?? null,
    tokens: answer.tokens,
    usage: { ...usage, generatedTokens: event.generated },
    timings: timingsOf(event, stopwatch),
    seed: call.sampling.seed,
    ...(call.sampling.topLogprobs >= 0 ? { logprobs: answer.logprobs } : {}),
  };
}

function timingsOf({ reason, stopString, generated, timings }: FinishEvent, stopwatch: Stopwatch): Timings {
  // Prefill yields the first token; an id that ended the answer took a step too.
  const steps = reason === 'stop' && stopString < 0 ? generated : generated - 1;
  return {
    decodeImage: stopwatch.decodeImage,
    queued: timings.queued,
    cutTiles: timings.cutTiles,
    encodeTiles: timings.encodeTiles,
    prefill: timings.prefill,
    decode: timings.decode,
    perToken: steps > 0 ? timings.decode / steps : 0,
    total: performance.now() - stopwatch.started,
  };
}

/** The engine's ids with their texts beside them. */
export function namedLogprobs(logprobs: readonly NativeLogprob[] | null, tokenizer: Tokenizer): ChosenLogprob[] {
  const named = ({ id, logprob }: { id: number; logprob: number }): TokenLogprob => ({
    id,
    token: tokenizer.decode([id]),
    logprob,
  });
  return (logprobs ?? []).map(chosen => ({ ...named(chosen), top: chosen.top.map(named) }));
}
