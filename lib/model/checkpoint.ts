/** Where a model is, and what its small files say: generation defaults and licence. */

import { existsSync, readdirSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { isWithin, nearest, show } from '../checks.js';
import { packageFolder } from '../engine/native.js';
import { NvlmError } from '../errors.js';
import { callOptions, type Option } from '../options/table.js';
import { readJson } from '../tokenizer/files.js';

/** A checkpoint that was found. */
export interface Checkpoint {
  /** As it was asked for. */
  name: string;
  folder: string;
}

/** What generation_config.json says. */
export interface GenerationDefaults {
  /** Defaults of options by their names. */
  options: Partial<Record<keyof typeof callOptions, number>>;
  /** Ids that end an answer, those of the chat template not included. */
  eosIds: number[];
}

/** Names of the models that come with the package. */
export function bundledModels(): string[] {
  const folder = join(packageFolder, 'models');
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter(name => existsSync(join(folder, name, 'config.json')))
    .toSorted();
}

/** Finds a checkpoint by bundled name or folder. */
export async function findCheckpoint(name: unknown): Promise<Checkpoint> {
  if (typeof name !== 'string' || name === '') {
    throw new NvlmError(
      'bad-option',
      `Expected a model's name or folder but received ${show(name)}. Bundled are ${bundledModels().join(', ')}.`,
    );
  }
  const bundled = bundledModels();
  if (bundled.includes(name)) return { name, folder: join(packageFolder, 'models', name) };
  const folder = resolve(name);
  const found = await stat(folder).catch(() => null);
  if (found === null) {
    const near = nearest(name, bundled);
    throw new NvlmError(
      'unknown-model',
      `${show(name)} is neither a bundled model nor a folder (${folder} does not exist). ` +
        `${near === undefined ? '' : `Did you mean ${near}? `}Bundled are ${bundled.join(', ')}.`,
    );
  }
  if (!found.isDirectory()) {
    throw new NvlmError(
      'not-a-checkpoint',
      `${folder} is a file. Give the folder that holds config.json and the weights.`,
    );
  }
  if (!existsSync(join(folder, 'config.json'))) {
    throw new NvlmError(
      'not-a-checkpoint',
      `${folder} holds no config.json. Give a checkpoint folder in Hugging Face layout.`,
    );
  }
  return { name, folder };
}

/** Reads generation_config.json; where it or a key is missing, the option's own default stands. */
export async function readGenerationDefaults(folder: string): Promise<GenerationDefaults> {
  const file = join(folder, 'generation_config.json');
  const config = (await readJson(file)) ?? {};
  const wrong = (what: string): NvlmError => new NvlmError('unsupported-config', `${file}: ${what}. Correct the file.`);
  // A checkpoint that does not sample is greedy, whatever its temperature says.
  const options: GenerationDefaults['options'] = config['do_sample'] === true ? {} : { temperature: 0 };
  for (const [name, row] of Object.entries(callOptions) as [keyof typeof callOptions, Option][]) {
    if (!('checkpoint' in row) || row.checkpoint === undefined || name in options) continue;
    const value = config[row.checkpoint];
    if (value === undefined || value === null) continue;
    if (!isWithin(value, row)) {
      throw wrong(`${row.checkpoint} is ${show(value)}, which is not from ${row.min} to ${row.max}`);
    }
    options[name] = value;
  }
  const eos = config['eos_token_id'];
  const eosIds = (Array.isArray(eos) ? (eos as unknown[]) : eos === undefined || eos === null ? [] : [eos]).map(id => {
    if (typeof id === 'number' && Number.isInteger(id) && id >= 0) return id;
    throw wrong(`eos_token_id holds ${show(id)}, which is no token id`);
  });
  return { options, eosIds };
}

/** The licence that the model card's front matter names, or else the first line of a licence file; null if neither says. */
export async function readLicense(folder: string): Promise<string | null> {
  const card = await readFile(join(folder, 'README.md'), 'utf8').catch(() => '');
  const front = /^---\r?\n([\s\S]*?)\r?\n---/.exec(card)?.[1] ?? '';
  const field = (key: string): string | undefined =>
    new RegExp(`^${key}:[ \\t]*["']?([^"'\\r\\n#]+)`, 'm').exec(front)?.[1]?.trim();
  const license = field('license');
  if (license !== undefined && license !== '' && license !== 'other') return license;
  const named = field('license_name') ?? license;
  if (named !== undefined && named !== '') return named;
  for (const name of ['LICENSE', 'LICENSE.txt', 'LICENSE.md']) {
    const text = await readFile(join(folder, name), 'utf8').catch(() => '');
    const first = text
      .split('\n')
      .map(line => line.replace(/^#+/, '').trim())
      .find(line => line !== '');
    if (first !== undefined) return first;
  }
  return null;
}
