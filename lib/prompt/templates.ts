/**
 * Messages -> runs of special ids, plain text, tags and image slots -> token ids, slot positions, tag positions (spec section 5). What an
 * image becomes differs by family.
 */

import type { NativeTag } from '../engine/native-types.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { type Family, isAmong } from './families.js';

const THUMBNAIL_TAG = '<tile_global_thumbnail>';

/** Text or the next image of the prompt. */
export type PromptPart = { type: 'text'; text: string } | { type: 'image' };

/** A turn, its images standing for the prompt's images in order. */
export interface PromptMessage {
  role: string;
  parts: PromptPart[];
}

/** What of the checkpoint shapes a prompt. */
export interface PromptConfig {
  family: Family;
  tokensPerTile: number;
  /** In front unless the messages bring their own; null or empty: none. */
  systemMessage: string | null;
}

/** A stretch of the prompt. Neighbouring plain runs belong together; every other run is encoded on its own. */
export type PromptRun =
  | { kind: 'special'; name: string }
  | { kind: 'plain'; text: string }
  /** Text whose positions matter: `<Image>`, a tag, `</Image>`. `tile` is -1 for the first and last. */
  | { kind: 'tag'; text: string; image: number; tile: number }
  /** One decoder position per image token of a tile. */
  | { kind: 'slots'; image: number; tile: number }
  /** Text from here on attends to the image. */
  | { kind: 'image-end'; image: number };

/** A prompt as the engine takes it. */
export interface Prompt {
  ids: Int32Array;
  /** Position, image, tile; one triple per tile that stands in the sequence. */
  slots: Int32Array;
  /** Those that see their tile alone. */
  tags: NativeTag[];
  /** Position just behind each image's block. */
  imageEnds: Int32Array;
}

/** Ids of tags, one after the other, and how many each takes. */
export interface CrossTags {
  ids: Int32Array;
  lengths: Int32Array;
}

/** Tags of an image of n tiles, thumbnail last: `<tile_1>` … `<tile_{n-1}>` `<tile_global_thumbnail>`. A single tile is the thumbnail. */
export function tileTags(tiles: number): string[] {
  return [...numberedTags(tiles - 1), THUMBNAIL_TAG];
}

/** `<tile_1>` … `<tile_count>`. */
function numberedTags(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `<tile_${index + 1}>`);
}

/** The checkpoint's system message in front, unless the messages bring one or there is none. */
function withSystem(messages: readonly PromptMessage[], systemMessage: string | null): PromptMessage[] {
  if (systemMessage === null || systemMessage === '' || messages[0]?.role === 'system') return [...messages];
  return [{ role: 'system', parts: [{ type: 'text', text: systemMessage }] }, ...messages];
}

/** ChatML as a list of runs. `tiles[k]` is the number of tiles of image k, thumbnail included. */
export function promptRuns(
  messages: readonly PromptMessage[],
  config: PromptConfig,
  tiles: readonly number[],
): PromptRun[] {
  const runs: PromptRun[] = [];
  let image = 0;
  for (const message of withSystem(messages, config.systemMessage)) {
    runs.push({ kind: 'special', name: '<|im_start|>' }, { kind: 'plain', text: `${message.role}\n` });
    for (const part of message.parts) {
      switch (part.type) {
        case 'text':
          runs.push({ kind: 'plain', text: part.text });
          break;
        case 'image':
          runs.push(...imageRuns(config.family, image, tiles[image] ?? 1), { kind: 'plain', text: '\n' });
          image++;
          break;
        default:
          part satisfies never;
      }
    }
    runs.push({ kind: 'special', name: '<|im_end|>' }, { kind: 'plain', text: '\n' });
  }
  runs.push({ kind: 'special', name: '<|im_start|>' }, { kind: 'plain', text: 'assistant\n' });
  return runs;
}

function imageRuns({ tagsAlone, taggedTiles, tilesInSequence }: Family, image: number, tiles: number): PromptRun[] {
  const text = (content: string, tile: number): PromptRun =>
    tagsAlone ? { kind: 'tag', text: content, image, tile } : { kind: 'plain', text: content };
  const runs = [text('<Image>', -1)];
  for (const [tile, tag] of tileTags(tiles).entries()) {
    if (isAmong(taggedTiles, tile, tiles)) runs.push(text(tag, tile));
    if (isAmong(tilesInSequence, tile, tiles)) runs.push({ kind: 'slots', image, tile });
  }
  runs.push(text('</Image>', -1), { kind: 'image-end', image });
  return runs;
}

/** Encodes a prompt's runs. All texts go to the tokenizer at once, so that it can judge what is long. */
export async function encodePrompt(
  runs: readonly PromptRun[],
  config: PromptConfig,
  tokenizer: Tokenizer,
): Promise<Prompt> {
  const merged = mergePlain(runs, config.family);
  const texts = merged.flatMap(run => (run.kind === 'plain' || run.kind === 'tag' ? [run.text] : []));
  const encoded = await tokenizer.encode(texts);

  // Kept in pieces and put together at the end: a long text has so many ids that one by one they would hold the event loop.
  const pieces: ArrayLike<number>[] = [];
  const slots: number[] = [];
  const tags: NativeTag[] = [];
  const imageEnds: number[] = [];
  let length = 0;
  const add = (piece: ArrayLike<number>): void => {
    pieces.push(piece);
    length += piece.length;
  };
  let text = 0;
  for (const run of merged) {
    switch (run.kind) {
      case 'special':
        add([tokenizer.specialId(run.name)]);
        break;
      case 'slots':
        slots.push(length, run.image, run.tile);
        add(new Int32Array(config.tokensPerTile).fill(tokenizer.specialId(config.family.padToken)));
        break;
      case 'image-end':
        imageEnds.push(length);
        break;
      case 'plain':
      case 'tag': {
        const list = encoded[text++] ?? [];
        if (run.kind === 'tag' && run.tile >= 0 && config.family.tagsLimitSight) {
          tags.push({ position: length, length: list.length, image: run.image, tile: run.tile });
        }
        add(list);
        break;
      }
      default:
        run satisfies never;
    }
  }
  return { ids: joined(pieces, length), slots: Int32Array.from(slots), tags, imageEnds: Int32Array.from(imageEnds) };
}

function joined(pieces: readonly ArrayLike<number>[], length: number): Int32Array {
  const ids = new Int32Array(length);
  let at = 0;
  for (const piece of pieces) {
    ids.set(piece, at);
    at += piece.length;
  }
  return ids;
}

/**
 * Joins neighbouring plain runs. Where tags are text an image's end is no boundary either: `</Image>` and the newline belong together,
 * and since nothing is cross-attended there, the end is told after the joined run.
 */
function mergePlain(runs: readonly PromptRun[], { tagsAlone }: Family): PromptRun[] {
  const merged: PromptRun[] = [];
  let waiting: PromptRun[] = [];
  for (const run of runs) {
    const last = merged.at(-1);
    if (run.kind === 'image-end' && !tagsAlone) {
      waiting.push(run);
    } else if (run.kind === 'plain' && last?.kind === 'plain') {
      merged[merged.length - 1] = { kind: 'plain', text: last.text + run.text };
    } else {
      merged.push(...waiting, run);
      waiting = [];
    }
  }
  return [...merged, ...waiting];
}

/** Ids of `<tile_1>` … `<tile_count>`, each encoded alone, for tiles that are cross-attended under their tags. */
export async function crossTagIds(tokenizer: Tokenizer, count: number): Promise<CrossTags> {
  const encoded = await tokenizer.encode(numberedTags(count));
  return {
    ids: Int32Array.from(encoded.flatMap(list => Array.from(list))),
    lengths: Int32Array.from(encoded, list => list.length),
  };
}
