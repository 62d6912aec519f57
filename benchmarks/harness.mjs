// What the benchmarks share: arguments, statistics, a table of fixed columns, and a record with date and hardware.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { devices } from 'nvlm';

export const demoFolder = new URL('../test/eval/demo/', import.meta.url);

/** The options of every benchmark: `--repeat N`, `--threads N`, `--json FILE`, and models by name (default: all bundled ones). */
export function readOptions(repeat) {
  const options = { repeat: { type: 'string' }, threads: { type: 'string' }, json: { type: 'string' } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const times = Number(values.repeat ?? repeat);
  if (!Number.isInteger(times) || times < 1) throw new Error(`--repeat must be a positive integer, not ${times}.`);
  return {
    repeat: times,
    threads: values.threads === undefined ? undefined : Number(values.threads),
    json: values.json,
    names: positionals,
  };
}

/** Median, and the spread as half of what lies between the quartiles. */
export function summary(samples) {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = share => {
    const place = (sorted.length - 1) * share;
    const low = sorted[Math.floor(place)];
    return low + (sorted[Math.ceil(place)] - low) * (place - Math.floor(place));
  };
  return { median: at(0.5), spread: (at(0.75) - at(0.25)) / 2 };
}

/** `12.3 ±0.4` */
export function spoken({ median, spread }) {
  const digits = median < 10 ? 2 : median < 100 ? 1 : 0;
  return `${median.toFixed(digits)} ±${spread.toFixed(digits)}`;
}

/** What the numbers depend on. */
export async function hardware() {
  const { instructionSet, threads } = (await devices()).find(device => device.id === 'cpu');
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryGB: Math.round(os.totalmem() / 1e9),
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.versions.node,
    device: 'cpu',
    instructionSet,
    threads,
    loadAverage: Number(os.loadavg()[0].toFixed(2)),
  };
}

/** Says first where the numbers come from; they mean nothing without it. */
export function printHead(title, machine, { repeat }) {
  console.log(`${title}: ${repeat} repetitions, median ± half the distance of the quartiles`);
  console.log(`${machine.cpu}, ${machine.cores} cores, ${machine.system}, Node ${machine.node}`);
  console.log(
    `device ${machine.device}, ${machine.instructionSet}, ${machine.threads} threads; load average at the start ${machine.loadAverage}`,
  );
  if (machine.loadAverage > machine.cores / 4) console.log('The machine was not idle: do not keep these numbers.');
  console.log('');
}

/** One line of fixed columns; `widths` are those of the head. */
export function printRow(cells, widths) {
  console.log(
    cells
      .map((cell, k) => String(cell).padEnd(widths[k]))
      .join('  ')
      .trimEnd(),
  );
}

/** Writes what was measured, if a file was asked for. */
export function writeRecord(file, record) {
  if (file === undefined) return;
  const { version } = JSON.parse(fs.readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  fs.mkdirSync(path.dirname(path.resolve(file)), { recursive: true });
  fs.writeFileSync(file, `${JSON.stringify({ date: new Date().toISOString(), version, ...record }, null, 2)}\n`);
  console.log(`\nwritten to ${file}`);
}
