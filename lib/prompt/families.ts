/**
 * What the families of models differ in on this side of the addon: how an image is written into a prompt (spec section 5). One row an
 * architecture; nothing else in lib/ asks for its name.
 */

import type { Architecture } from '../types/output.js';

/** Some of an image's tiles, of which the thumbnail is the last. A single tile is the thumbnail. */
type TileSet = 'all' | 'thumbnail' | 'none';

export interface Family {
  /** Tiles whose tag is written in the prompt. */
  taggedTiles: TileSet;
  /** Tiles whose image tokens stand in the decoder's sequence, behind the tag. */
  tilesInSequence: TileSet;
  /** Whether tags are encoded on their own; else they are text, and may share a token with the text beside them. */
  tagsAlone: boolean;
  /** Whether the engine is told where each tag stands: its positions see that tile alone. Needs tagsAlone. */
  tagsLimitSight: boolean;
  /** Whether the engine gets the ids of `<tile_1>`, `<tile_2>`, … itself, for tiles that are cross-attended under their tags. */
  crossTags: boolean;
  /** The largest number that a tile's tag had in training. */
  trainedTags: number;
  /** Name of the token that holds the place of an image token in the sequence. */
  padToken: string;
  /** Names of the tokens that end an answer, beside those of generation_config.json. */
  stopTokens: readonly string[];
}

/** What all of NVLM 1.0 has in common. */
const nvlm = { trainedTags: 6, padToken: '<|vision_pad|>', stopTokens: ['<|im_end|>', '<|endoftext|>'] };

const families: Record<Architecture, Family> = {
  // Encoded as one string, as published. Nothing is cross-attended.
  'NVLM-D': {
    ...nvlm,
    taggedTiles: 'all',
    tilesInSequence: 'all',
    tagsAlone: false,
    tagsLimitSight: false,
    crossTags: false,
  },
  // All tiles are cross-attended; each tag sees its own.
  'NVLM-X': {
    ...nvlm,
    taggedTiles: 'all',
    tilesInSequence: 'none',
    tagsAlone: true,
    tagsLimitSight: true,
    crossTags: false,
  },
  // The thumbnail enters the decoder, the other tiles are cross-attended under their tags.
  'NVLM-H': {
    ...nvlm,
    taggedTiles: 'thumbnail',
    tilesInSequence: 'thumbnail',
    tagsAlone: true,
    tagsLimitSight: false,
    crossTags: true,
  },
};

/** The family of an architecture that the engine reports. */
export function familyOf(architecture: Architecture): Family {
  return families[architecture];
}

/** Whether tile `tile` of `count` is one of `which`. */
export function isAmong(which: TileSet, tile: number, count: number): boolean {
  return which === 'all' || (which === 'thumbnail' && tile === count - 1);
}
