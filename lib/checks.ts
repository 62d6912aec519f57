/** Checks of what a user passes: names, types, ranges. Every message says what was expected, where, what came, and what to do. */

import { inspect, types } from 'node:util';
import { NvlmError, type NvlmErrorCode } from './errors.js';

/** A number's allowed range, both ends included. */
export interface Range {
  readonly kind: 'integer' | 'number';
  readonly min: number;
  readonly max: number;
  /** What stands for it where it was left out: in words, or the value. */
  readonly fallback?: string;
  readonly default?: number;
}

/** How a received value is shown in a message: short, on one line, without running a user's code. Texts have at most `longest` characters. */
export function show(value: unknown, longest = 60): string {
  if (typeof value === 'string') return JSON.stringify(shorten(value, longest));
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object' && value !== null) {
    if (types.isProxy(value)) return 'a proxy';
    if (Array.isArray(value)) return `an array of ${value.length}`;
    if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) return `bytes (${value.byteLength})`;
    return `an object with the keys ${show(Object.keys(value).slice(0, 6).join(', '))}`;
  }
  return inspect(value);
}

/** The beginning of a text that may be of any length. */
export function shorten(text: string, longest = 60): string {
  return text.length > longest ? `${text.slice(0, longest - 3)}...` : text;
}

/** What something thrown by others says; it may be anything, even what cannot be made a string. */
export function showThrown(thrown: unknown): string {
  try {
    return shorten(String(thrown), 200);
  } catch {
    return show(thrown);
  }
}

/** The plain object a user passed, or an error. `undefined` is taken for an object without keys. */
export function asObject(value: unknown, where: string, code: NvlmErrorCode = 'bad-option'): Record<string, unknown> {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new NvlmError(code, `Expected an object for ${where} but received ${show(value)}. Give its fields by name.`);
  }
  return value as Record<string, unknown>;
}

/** Refuses keys that are not known, naming the nearest. */
export function checkKeys(
  object: object,
  allowed: readonly string[],
  where: string,
  code: NvlmErrorCode = 'bad-option',
): void {
  for (const key of Object.keys(object)) {
    if (allowed.includes(key)) continue;
    const near = nearest(key, allowed);
    const fix =
      near === undefined
        ? `Known are ${allowed.join(', ')}.`
        : `Did you mean ${near}? Known are ${allowed.join(', ')}.`;
    throw new NvlmError(code, `${where}.${shorten(key)} is not known. ${fix}`);
  }
}

/** Whether a value is a number of the kind and in the range. */
export function isWithin(value: unknown, { kind, min, max }: Range): value is number {
  return typeof value === 'number' && value >= min && value <= max && (kind === 'number' || Number.isInteger(value));
}

/** A number in its range, or undefined when it was left out. */
export function optionalNumber(value: unknown, name: string, range: Range): number | undefined {
  if (value === undefined || isWithin(value, range)) return value;
  const kind = range.kind === 'integer' ? 'an integer' : 'a number';
  const fix = `Leave it out for the default (${range.fallback ?? range.default}).`;
  throw new NvlmError(
    'bad-option',
    `Expected ${kind} between ${range.min} and ${range.max} for ${name} but received ${show(value)}. ${fix}`,
  );
}

/** true, false, or undefined when it was left out. */
export function optionalBoolean(value: unknown, name: string): boolean | undefined {
  if (value === undefined || typeof value === 'boolean') return value;
  throw new NvlmError(
    'bad-option',
    `Expected true or false for ${name} but received ${show(value)}. Leave it out for the default.`,
  );
}

/** A function, or undefined when it was left out. */
export function optionalFunction(value: unknown, name: string): ((value: never) => void) | undefined {
  if (value === undefined || typeof value === 'function') return value as ((value: never) => void) | undefined;
  throw new NvlmError(
    'bad-option',
    `Expected a function for ${name} but received ${show(value)}. Leave it out if there is none.`,
  );
}

/** A text or texts as a list, or undefined when it was left out. */
export function optionalTexts(
  value: unknown,
  name: string,
  { most, longest }: { most: number; longest: number },
): string[] | undefined {
  if (value === undefined) return undefined;
  const list: unknown[] = Array.isArray(value) ? value : [value];
  const fits =
    list.length <= most && list.every(text => typeof text === 'string' && text !== '' && text.length <= longest);
  if (fits) return list as string[];
  throw new NvlmError(
    'bad-option',
    `Expected a text or at most ${most} texts of 1 to ${longest} characters for ${name} but received ${show(value)}. Leave it out if there is none.`,
  );
}

/** The name of a device, or undefined when it was left out. */
export function optionalDevice(value: unknown, name: string): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'string') {
    if (/^(auto|cpu|cuda(:\d{1,3})?)$/.test(value)) return value;
    // What the tests load in place of a GPU; see docs/contributing.md.
    if (value === 'emulator' && process.env['NVLM_EMULATOR_LIBRARY'] !== undefined) return value;
  }
  throw new NvlmError(
    'bad-option',
    `Expected 'auto', 'cpu', 'cuda' or 'cuda:N' for ${name} but received ${show(value)}. Leave it out for 'auto'.`,
  );
}

/** An AbortSignal (of any realm), or undefined when it was left out. */
export function optionalSignal(value: unknown, name: string): AbortSignal | undefined {
  if (value === undefined) return undefined;
  if (isSignal(value)) return value;
  throw new NvlmError(
    'bad-option',
    `Expected an AbortSignal for ${name} but received ${show(value)}. Pass the signal of an AbortController.`,
  );
}

function isSignal(value: unknown): value is AbortSignal {
  if (typeof value !== 'object' || value === null) return false;
  const signal = value as Partial<AbortSignal>;
  return typeof signal.aborted === 'boolean' && typeof signal.addEventListener === 'function';
}

/** The known name nearest to a misspelt one, if any is near: at most two edits, or one per three letters. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(
      name.toLowerCase().replace(/[_-]/g, ''),
      candidate.toLowerCase().replace(/[_-]/g, ''),
    );
    if (distance < bestDistance && distance < candidate.length) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein's distance; names are short, so two rows are plenty. Anything over 64 letters is near to nothing. */
function editDistance(a: string, b: string): number {
  if (a.length > 64 || b.length > 64) return 64;
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(replaced, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
