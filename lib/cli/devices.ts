/** `nvlm devices`: what models can run on here. */

import { Command } from 'commander';
import { type Device, devices } from '../index.js';

export function devicesCommand(): Command {
  return new Command('devices')
    .description('list the CPU and every GPU, and why a device cannot be used')
    .option('--json', 'print them as JSON')
    .addHelpText('after', '\nExamples:\n  nvlm devices\n  nvlm devices --json')
    .action(listDevices);
}

async function listDevices(options: { json?: boolean }): Promise<void> {
  const found = await devices();
  if (options.json) {
    process.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
    return;
  }
  for (const device of found) {
    const facts = device.available ? describe(device) : [`unavailable: ${device.reason}`];
    process.stdout.write(`${device.id.padEnd(9)}${[device.name ?? [], facts].flat().join(', ')}\n`);
  }
}

function describe({ instructionSet, threads, computeCapability, driver, memoryFree, memoryTotal }: Device): string[] {
  return [
    ...(instructionSet === null ? [] : [instructionSet, `${threads} threads`]),
    ...(computeCapability === null ? [] : [`compute capability ${computeCapability}`]),
    ...(driver === null ? [] : [`driver for CUDA ${driver}`]),
    `${gigabytes(memoryFree)} of ${gigabytes(memoryTotal)} GB free`,
  ];
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(1);
}
