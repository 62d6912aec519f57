/** Where a model is, and what its small files say: generation defaults and licence. */

import { existsSync, readdirSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { nearest, show } from '../checks.js';
import { packageFolder } from '../engine/native.js';
import { NvlmError } from '../errors.js';
import { readJson } from '../tokenizer/files.js';

/** A checkpoint that was found. */
export interface Checkpoint {
  /** As it was asked for. */
  name: string;
  folder: string;
}

/** Defaults of generation options, as generation_config.json gives them. */
export interface GenerationDefaults {
  maxTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  /** Ids that end an answer, those of the chat template not included. */
  eosIds: number[];
}

/** Tokens answered at most where neither the call nor the checkpoint says. */
const DEFAULT_MAX_TOKENS = 1024;

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

/** Reads generation_config.json; where it or a key is missing, the neutral value stands. */
export async function readGenerationDefaults(folder: string): Promise<GenerationDefaults> {
  const file = join(folder, 'generation_config.json');
  const config = (await readJson(file)) ?? {};
  const number = (key: string, fallback: number, min: number, max: number, integer = false): number => {
    const value = config[key];
    if (value === undefined || value === null) return fallback;
    const fits = typeof value === 'number' && value >= min && value <= max && (!integer || Number.isInteger(value));
    if (fits) return value;
    throw new NvlmError(
      'unsupported-config',
      `${file}: ${key} is ${show(value)}, which is not from ${min} to ${max}. Correct the file.`,
    );
  };
  const eos = config['eos_token_id'];
  const eosIds = (Array.isArray(eos) ? (eos as unknown[]) : eos === undefined || eos === null ? [] : [eos]).map(id => {
    if (typeof id === 'number' && Number.isInteger(id) && id >= 0) return id;
    throw new NvlmError(
      'unsupported-config',
      `${file}: eos_token_id holds ${show(id)}, which is no token id. Correct the file.`,
    );
  });
  return {
    maxTokens: number('max_new_tokens', DEFAULT_MAX_TOKENS, 1, 1048576, true),
    temperature: config['do_sample'] === true ? number('temperature', 1, 0, 100) : 0,
    topK: number('top_k', 0, 0, 1048576, true),
    topP: number('top_p', 1, Number.MIN_VALUE, 1),
    minP: number('min_p', 0, 0, 1),
    repetitionPenalty: number('repetition_penalty', 1, 0.01, 100),
    eosIds,
  };
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
