/** The thread that encodes long texts and reads large vocabularies, so that neither holds up the event loop. */

import { parentPort, workerData } from 'node:worker_threads';
import { readTokenizer } from './files.js';
import { PlainTokenizer, type VocabularyTables, vocabularyTables } from './plain.js';

/** How the thread is started. */
export interface WorkerStart {
  /** Checkpoint folder; the thread reads the tokenizer's files itself. */
  folder: string;
  /** Whether to answer with the vocabulary's tables first, as job 0. */
  tables: boolean;
}

/** What it is asked: encode these texts. */
export interface EncodeJob {
  id: number;
  texts: string[];
}

/** What it answers: ids per text, the tables, or why not. */
export type WorkerAnswer =
  | { id: number; ids: Int32Array[] }
  | { id: number; tables: VocabularyTables }
  | { id: number; failure: { code: string; message: string } };

const port = parentPort;
if (port !== null) {
  const { folder, tables } = workerData as WorkerStart;
  const answer = (value: WorkerAnswer, transfer: ArrayBuffer[] = []): void => port.postMessage(value, transfer);
  const fail = (id: number, error: unknown): void => {
    const { code = 'internal', message } = error as { code?: string; message: string };
    answer({ id, failure: { code, message } });
  };
  const ready = readTokenizer(folder).then(definition => {
    if (tables) {
      const made = vocabularyTables(definition);
      answer({ id: 0, tables: made }, [
        made.bytes.bytes.buffer as ArrayBuffer,
        made.bytes.offsets.buffer as ArrayBuffer,
      ]);
    }
    return new PlainTokenizer(definition);
  });
  ready.catch((error: unknown) => fail(0, error));
  port.on('message', (job: EncodeJob) => {
    ready.then(
      tokenizer => {
        const ids = job.texts.map(text => Int32Array.from(tokenizer.encode(text)));
        answer(
          { id: job.id, ids },
          ids.map(list => list.buffer),
        );
      },
      (error: unknown) => fail(job.id, error),
    );
  });
}
