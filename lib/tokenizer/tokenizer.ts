/**
 * The checkpoint's tokenizer behind four methods. Short texts are encoded at once; long ones in one thread that is started on first need
 * and holds the process only while it works. A large vocabulary (Qwen2's is 7 MB of JSON) lives in that thread alone.
 */

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { closedError, fromNative, NvlmError } from '../errors.js';
import { readTokenizer } from './files.js';
import {
  decodeIds,
  PlainTokenizer,
  resizeTokenBytes,
  type TokenBytes,
  type VocabularyTables,
  vocabularyTables,
} from './plain.js';
import type { EncodeJob, WorkerAnswer, WorkerStart } from './worker.js';

/** Characters that are encoded on the JS thread; about 2 ms when warm. */
const SHORT_TEXT = 1024;

/** Bytes of vocabulary that are parsed on the JS thread; about 2 ms. */
const SMALL_VOCABULARY = 128 * 1024;

interface Pending {
  resolve: (answer: WorkerAnswer) => void;
  reject: (error: unknown) => void;
}

/** Text -> ids and back. User text never becomes a special token. */
export class Tokenizer {
  readonly #folder: string;
  readonly #pending = new Map<number, Pending>();
  #tables: VocabularyTables = { added: new Map(), bytes: { bytes: new Uint8Array(), offsets: new Int32Array(1) } };
  /** Absent when the vocabulary is too large for the JS thread. */
  #plain: PlainTokenizer | undefined;
  #worker: Worker | undefined;
  #nextJob = 1;
  #closed = false;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Reads the tokenizer of a checkpoint folder. */
  static async open(folder: string): Promise<Tokenizer> {
    const tokenizer = new Tokenizer(folder);
    if ((await vocabularySize(folder)) > SMALL_VOCABULARY) await tokenizer.#openInWorker();
    else await tokenizer.#openHere();
    return tokenizer;
  }

  /** Ids of each text, encoded on its own and without special tokens. */
  async encode(texts: readonly string[]): Promise<ArrayLike<number>[]> {
    if (this.#closed) throw closedError();
    const plain = this.#plain;
    const length = texts.reduce((sum, text) => sum + text.length, 0);
    if (plain !== undefined && length <= SHORT_TEXT) return texts.map(text => plain.encode(text));
    this.#worker ??= this.#startWorker(false);
    const job: EncodeJob = { id: this.#nextJob++, texts: [...texts] };
    const answer = this.#answerTo(job.id, this.#worker);
    this.#worker.postMessage(job);
    const { ids } = (await answer) as { ids: Int32Array[] };
    return ids;
  }

  /** The text of ids; special tokens have none. */
  decode(ids: ArrayLike<number>): string {
    return decodeIds(this.#tables.bytes, ids);
  }

  /** Id of a special or other added token, by its content. */
  specialId(content: string): number {
    const id = this.findSpecial(content);
    if (id !== undefined) return id;
    throw new NvlmError(
      'unsupported-config',
      `The tokenizer in ${this.#folder} has no token ${content}, which prompts of this family need. Use the checkpoint's own tokenizer.`,
    );
  }

  /** Id of an added token, or undefined when the tokenizer has none of that name. */
  findSpecial(content: string): number | undefined {
    return this.#tables.added.get(content);
  }

  /** The bytes of each id below `vocabSize`, for the engine. */
  bytes(vocabSize: number): TokenBytes {
    return resizeTokenBytes(this.#tables.bytes, vocabSize);
  }

  /** Ends the thread; texts still in it are rejected with `closed`. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#worker = undefined;
    this.#failAll(closedError());
    await worker?.terminate();
  }

  /** The first words cost ten times the later ones, so they are encoded here, a few at a time. */
  async #openHere(): Promise<void> {
    const definition = await readTokenizer(this.#folder);
    this.#tables = vocabularyTables(definition);
    const plain = new PlainTokenizer(definition);
    for (const text of ['Read', ' the text:', " It's $12.5\n", '<tile_1>']) {
      await nextTurn();
      plain.encode(text);
    }
    this.#plain = plain;
  }

  async #openInWorker(): Promise<void> {
    this.#worker = this.#startWorker(true);
    const { tables } = (await this.#answerTo(0, this.#worker)) as { tables: VocabularyTables };
    this.#tables = tables;
  }

  #answerTo(id: number, worker: Worker): Promise<WorkerAnswer> {
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      worker.ref();
    });
  }

  #startWorker(tables: boolean): Worker {
    const start: WorkerStart = { folder: this.#folder, tables };
    // Not this process's flags: some, such as --expose-gc, are refused in threads.
    const worker = new Worker(join(__dirname, 'worker.js'), { workerData: start, execArgv: [] });
    worker.on('message', (answer: WorkerAnswer) => {
      const pending = this.#pending.get(answer.id);
      this.#pending.delete(answer.id);
      if (this.#pending.size === 0) worker.unref();
      if ('failure' in answer) pending?.reject(fromNative(answer.failure));
      else pending?.resolve(answer);
    });
    worker.on('error', cause => {
      if (this.#worker === worker) this.#worker = undefined;
      this.#failAll(
        new NvlmError('internal', `The tokenizer's thread failed: ${cause.message}. Please report it.`, { cause }),
      );
    });
    worker.unref();
    return worker;
  }

  #failAll(error: NvlmError): void {
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
  }
}

async function vocabularySize(folder: string): Promise<number> {
  const sizes = await Promise.all(
    ['tokenizer.json', 'vocab.json', 'merges.txt'].map(
      async name => (await stat(join(folder, name)).catch(() => null))?.size ?? 0,
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
