/** Reads a checkpoint's tokenizer in either format (spec section 2) into the one form the tokenizer library takes. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NvlmError } from '../errors.js';

/** A token that is matched in text before the model runs, in the form of tokenizer.json. */
export interface AddedToken {
  id: number;
  content: string;
  special: boolean;
}

/** What the tokenizer library takes, plus the two facts we look up ourselves. */
export interface TokenizerDefinition {
  /** The content of tokenizer.json. */
  tokenizer: Record<string, unknown>;
  /** The content of tokenizer_config.json. */
  config: Record<string, unknown>;
  vocabulary: Record<string, number>;
  addedTokens: AddedToken[];
}

/** Qwen2's split of text before byte pairs; what a `vocab.json` checkpoint of this family leaves to its tokenizer class. */
const QWEN2_SPLIT =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** Reads `tokenizer.json`, or `vocab.json` + `merges.txt` + `added_tokens.json`, from a checkpoint folder. */
export async function readTokenizer(folder: string): Promise<TokenizerDefinition> {
  const config = (await readJson(join(folder, 'tokenizer_config.json'))) ?? {};
  const whole = await readJson(join(folder, 'tokenizer.json'));
  const tokenizer = whole ?? (await fromVocabAndMerges(folder));
  const vocabulary = (tokenizer['model'] as { vocab?: unknown } | undefined)?.vocab;
  if (typeof vocabulary !== 'object' || vocabulary === null || Array.isArray(vocabulary)) {
    throw corrupt(join(folder, 'tokenizer.json'), 'model.vocab is not an object, so it is no byte-pair vocabulary');
  }
  const added = tokenizer['added_tokens'];
  return {
    tokenizer,
    config,
    vocabulary: vocabulary as Record<string, number>,
    addedTokens: Array.isArray(added) ? (added as AddedToken[]) : [],
  };
}

async function fromVocabAndMerges(folder: string): Promise<Record<string, unknown>> {
  const vocabulary = await readJson(join(folder, 'vocab.json'));
  const mergesText = await readText(join(folder, 'merges.txt'));
  if (vocabulary === null || mergesText === null) {
    throw new NvlmError(
      'not-a-checkpoint',
      `${folder} has neither tokenizer.json nor vocab.json with merges.txt. Copy the tokenizer's files into the folder.`,
    );
  }
  const added = (await readJson(join(folder, 'added_tokens.json'))) ?? {};
  const merges = mergesText
    .split(/\r?\n/)
    .filter((line, index) => line !== '' && !(index === 0 && line.startsWith('#version')));
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: Object.entries(added).map(([content, id]) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: { type: 'NFC' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: QWEN2_SPLIT }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: false, use_regex: true },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', unk_token: null, byte_fallback: false, ignore_merges: false, vocab: vocabulary, merges },
  };
}

/** A JSON object of a checkpoint, or null when the file is not there. */
export async function readJson(file: string): Promise<Record<string, unknown> | null> {
  const text = await readText(file);
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw corrupt(file, `it is not JSON (${(cause as Error).message})`, cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw corrupt(file, 'it does not hold a JSON object');
  return value as Record<string, unknown>;
}

async function readText(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new NvlmError('not-a-checkpoint', `${file} cannot be read. Check its permissions.`, { cause });
  }
}

function corrupt(file: string, what: string, cause?: unknown): NvlmError {
  return new NvlmError('corrupt-checkpoint', `${file} cannot be used: ${what}. Copy the file again.`, { cause });
}
