/**
 * Text -> ids on the calling thread, without any special token in sight (spec section 5), and the tables made from the vocabulary. The
 * library has no switch to ignore special tokens, so it is built without them.
 */

import { NvlmError } from '../errors.js';
import type { TokenizerDefinition } from './files.js';

/** The part of the library that is used. Its own types are written for ES modules only, while its code can be required. */
interface LibraryTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
}

const library = require('@huggingface/tokenizers') as {
  Tokenizer: new (tokenizer: object, config: object) => LibraryTokenizer;
};

/** The bytes of every id, as the engine takes them: id i has bytes[offsets[i]] up to bytes[offsets[i + 1]]. */
export interface TokenBytes {
  bytes: Uint8Array;
  /** One entry more than there are ids. */
  offsets: Int32Array;
}

/** Encodes text as plain characters: a typed `<|im_start|>` is characters like any others. */
export class PlainTokenizer {
  readonly #tokenizer: LibraryTokenizer;

  constructor(definition: TokenizerDefinition) {
    try {
      this.#tokenizer = new library.Tokenizer(
        { ...definition.tokenizer, added_tokens: [] },
        { ...definition.config, added_tokens_decoder: {} },
      );
    } catch (cause) {
      const why = (cause as Error).message;
      throw new NvlmError('corrupt-checkpoint', `The tokenizer's files cannot be used: ${why}. Copy them again.`, {
        cause,
      });
    }
  }

  encode(text: string): number[] {
    return text === '' ? [] : this.#tokenizer.encode(text, { add_special_tokens: false }).ids;
  }
}

/** What is looked up in a vocabulary, small enough to cross between threads. */
export interface VocabularyTables {
  /** Ids by the content of special and other added tokens. */
  added: Map<string, number>;
  bytes: TokenBytes;
}

/**
 * The tables of a vocabulary. Its entries are written in the byte-level alphabet, one character a byte. Special tokens and ids without an
 * entry have no bytes; other added tokens are their own text.
 */
export function vocabularyTables(definition: TokenizerDefinition): VocabularyTables {
  const pieces: (Uint8Array | undefined)[] = [];
  const utf8 = new TextEncoder();
  for (const [token, id] of Object.entries(definition.vocabulary))
    pieces[id] = fromByteAlphabet(token) ?? utf8.encode(token);
  for (const token of definition.addedTokens) pieces[token.id] = token.special ? undefined : utf8.encode(token.content);
  const offsets = new Int32Array(pieces.length + 1);
  for (let id = 0; id < pieces.length; id++) offsets[id + 1] = (offsets[id] ?? 0) + (pieces[id]?.length ?? 0);
  const bytes = new Uint8Array(offsets[pieces.length] ?? 0);
  for (const [id, piece] of pieces.entries()) {
    if (piece !== undefined) bytes.set(piece, offsets[id]);
  }
  return { added: new Map(definition.addedTokens.map(token => [token.content, token.id])), bytes: { bytes, offsets } };
}

/** The table for exactly `size` ids: a model's embedding may have more rows than its tokenizer has tokens. */
export function resizeTokenBytes(table: TokenBytes, size: number): TokenBytes {
  const offsets = new Int32Array(size + 1).fill(table.offsets.at(-1) ?? 0);
  offsets.set(table.offsets.subarray(0, size + 1));
  return { bytes: table.bytes.subarray(0, offsets[size]), offsets };
}

/** The text of ids: their bytes put together, then read as UTF-8, so that characters split over tokens come out whole. */
export function decodeIds(table: TokenBytes, ids: ArrayLike<number>): string {
  const { bytes, offsets } = table;
  const begin = (k: number): number => offsets[ids[k] ?? 0] ?? 0;
  const end = (k: number): number => offsets[(ids[k] ?? 0) + 1] ?? begin(k);
  let length = 0;
  for (let k = 0; k < ids.length; k++) length += end(k) - begin(k);
  const text = new Uint8Array(length);
  let to = 0;
  for (let k = 0; k < ids.length; k++) {
    for (let from = begin(k); from < end(k); from++) text[to++] = bytes[from] ?? 0;
  }
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(text);
}

/** GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the other 68 for U+0100 onwards in order. */
const byteOfCharacter: ReadonlyMap<string, number> = (() => {
  const map = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    map.set(String.fromCharCode(printable ? byte : next++), byte);
  }
  return map;
})();

function fromByteAlphabet(token: string): Uint8Array | undefined {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfCharacter.get(token.charAt(i));
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}
