/** `nvlm models`: the bundled models. */

import { Command } from 'commander';
import { bundledModels, inspect } from '../index.js';
import { megabytes } from './terminal.js';

export function modelsCommand(): Command {
  return new Command('models')
    .description('list the models that come with the package')
    .option('--json', 'print them as JSON')
    .addHelpText('after', '\nExamples:\n  nvlm models\n  nvlm models --json')
    .action(models);
}

async function models(options: { json?: boolean }): Promise<void> {
  const found = await Promise.all(bundledModels().map(name => inspect(name)));
  const rows = found.map(({ name, architecture, dtype, license, folder, parameters, memory }) => ({
    name,
    architecture,
    parameters: parameters.total,
    dtype,
    memory: memory.total,
    license,
    folder,
  }));
  if (options.json) {
    process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
    return;
  }
  for (const { name, architecture, parameters, dtype, memory } of rows) {
    const size = `${(parameters / 1e6).toFixed(1)} M parameters`;
    process.stdout.write(
      `${name.padEnd(16)}${architecture.padEnd(9)}${size.padEnd(20)}${dtype.padEnd(10)}needs ${megabytes(memory)}\n`,
    );
  }
}
