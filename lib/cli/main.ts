#!/usr/bin/env node
/** `nvlm`: one file per command, each a thin use of the public API. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { NvlmError } from '../index.js';
import { askCommand } from './ask.js';
import { devicesCommand } from './devices.js';
import { inspectCommand } from './inspect.js';
import { modelsCommand } from './models.js';
import { tilesCommand } from './tiles.js';

/** What the exit codes mean; in `--help` too. */
const exitCodes = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** Codes of failures that end with `usage`: another command line would fix them. */
const usageCodes: readonly string[] = ['bad-option', 'bad-messages', 'unknown-model', 'file-not-found'];

async function main(): Promise<void> {
  const { version } = JSON.parse(readFileSync(join(__dirname, '..', '..', 'package.json'), 'utf8')) as {
    version: string;
  };
  const program = new Command('nvlm')
    .description('Ask images questions with NVLM, on this machine.')
    .version(version)
    .exitOverride()
    .showHelpAfterError('(add --help for the options and examples)')
    .addHelpText(
      'after',
      `
Examples:
  nvlm ask receipt.png "What is the total?"
  cat sign.jpg | nvlm ask - "What does the text say?" --model nvlm-tiny-h
  nvlm tiles chart.png -o tiles.png
  nvlm models

Exit codes: 0 done, 1 failed, 2 wrong command line, 130 interrupted.`,
    );
  for (const command of [askCommand(), tilesCommand(), inspectCommand(), modelsCommand(), devicesCommand()]) {
    program.addCommand(command.exitOverride());
  }
  await program.parseAsync();
}

/** The exit code of a failure, after it was told on stderr; commander has told its own already. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
  if (!NvlmError.is(error)) {
    process.stderr.write(`nvlm: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    return exitCodes.failed;
  }
  if (error.code === 'aborted') return exitCodes.interrupted;
  process.stderr.write(`nvlm: ${error.message} [${error.code}]\n`);
  return usageCodes.includes(error.code) ? exitCodes.usage : exitCodes.failed;
}

// A reader that has had enough (`nvlm … | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? exitCodes.done : exitCodes.failed);
});

main().catch((error: unknown) => {
  process.exitCode = report(error);
});
