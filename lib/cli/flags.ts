/** Flags made from rows of the table of options: `maxTokens` becomes `--max-tokens <n>`. */

import { type Command, Option as Flag, InvalidArgumentError } from 'commander';
import type { Option } from '../options/table.js';

/** Adds the flags of the named options to a command; each sets the key of the option's name. */
export function addFlags<R extends Record<string, Option>>(
  command: Command,
  rows: R,
  ...names: (keyof R & string)[]
): Command {
  for (const name of names) command.addOption(flagOf(name, rows[name] as Option));
  return command;
}

function flagOf(name: string, { kind, flag }: Option): Flag {
  const dashed = name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`);
  // Options that are true by default are switched off.
  if (kind === 'boolean') return new Flag(`--no-${dashed}`, flag?.help);
  const made = new Flag(`--${dashed} ${flag?.argument}`, flag?.help);
  return kind === 'integer' || kind === 'number' ? made.argParser(numberArgument) : made;
}

/** Reads a number on the command line; its range is the library's business. */
function numberArgument(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value)) throw new InvalidArgumentError('It is not a number.');
  return value;
}
