/** Checks what a user passed against rows of the table of options, and fills in defaults. */

import {
  asObject,
  checkKeys,
  optionalBoolean,
  optionalDevice,
  optionalFunction,
  optionalNumber,
  optionalSignal,
  optionalTexts,
} from '../checks.js';
import type { BooleanOption, NumberOption, Option } from './table.js';

type Value<O extends Option> = O extends NumberOption
  ? number
  : O extends BooleanOption
    ? boolean
    : O['kind'] extends 'texts'
      ? string[]
      : O['kind'] extends 'device'
        ? string
        : O['kind'] extends 'function'
          ? (value: never) => void
          : O['kind'] extends 'signal'
            ? AbortSignal
            : unknown;

/** What comes of checked options: a value of the row's kind, or undefined where there is neither one nor a default. */
export type Checked<R extends Record<string, Option>> = {
  [K in keyof R]: Value<R[K]> | (R[K] extends { default: unknown } ? never : undefined);
};

/** The object of options that a user passed, or an error if it is none or holds keys without a row. */
export function knownOptions(value: unknown, rows: Record<string, Option>): Record<string, unknown> {
  const options = asObject(value, 'options');
  checkKeys(options, Object.keys(rows), 'options');
  return options;
}

/** Checks each row's value and fills in its default. `where` is what the object is called in messages. */
export function checkOptions<R extends Record<string, Option>>(
  options: Record<string, unknown>,
  rows: R,
  where = 'options',
): Checked<R> {
  const checked = Object.entries(rows).map(([key, row]) => [key, check(options[key], row, `${where}.${key}`)]);
  return Object.fromEntries(checked) as Checked<R>;
}

/** The same rows with other defaults. */
export function withDefaults<R extends Record<string, Option>>(
  rows: R,
  defaults: { readonly [K in keyof R]?: number },
): R {
  const changed = Object.entries(rows).map(([key, row]) => {
    const value = defaults[key];
    return [key, value === undefined ? row : { ...row, default: value, fallback: String(value) }];
  });
  return Object.fromEntries(changed) as R;
}

function check(value: unknown, row: Option, name: string): unknown {
  switch (row.kind) {
    case 'integer':
    case 'number':
      return optionalNumber(value, name, row) ?? row.default;
    case 'boolean':
      return optionalBoolean(value, name) ?? row.default;
    case 'texts':
      return optionalTexts(value, name, row);
    case 'device':
      return optionalDevice(value, name) ?? row.default;
    case 'function':
      return optionalFunction(value, name);
    case 'signal':
      return optionalSignal(value, name);
    case 'other':
      return value === undefined ? row.default : value;
    default:
      return row satisfies never;
  }
}
