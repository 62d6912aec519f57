/** What a model sees of an image: its tiles, without running a model. */

import { findCheckpoint } from './checkpoint.js';
import { fromNative, NvlmError } from './errors.js';
import { interpretSource, readPixels } from './image-source.js';
import { native } from './native.js';
import { asObject, checkKeys, optionalBoolean, optionalNumber, show } from './options.js';
import { tileTags } from './prompt.js';
import { readJson } from './tokenizer-files.js';
import { join } from 'node:path';
import { chooseGrid, tileCount } from './tiling.js';
import type { ImageInput, ImageOptions } from './types.js';

/** Options of {@link tileImage}. */
export interface TileOptions extends ImageOptions {
  /** Model whose tiling is used, by name or folder. Default: `nvlm-tiny-d`. */
  model?: string;
  /** Pixels the image may have, 1 to 1e9. Default: 1e8. */
  maxPixels?: number;
}

/** An image cut as the model sees it. */
export interface Tiles {
  /** Pixels of the image, after orientation. */
  width: number;
  height: number;
  columns: number;
  rows: number;
  /** Side of a tile in pixels. */
  tileSize: number;
  /** Tag of each tile; the thumbnail comes last. */
  tags: string[];
  /** RGB of each tile, tileSize·tileSize·3 bytes, in the order of the tags. */
  pixels: Uint8Array[];
}

/** Cuts an image into the tiles that a model would see, thumbnail last. */
export async function tileImage(image: ImageInput, options?: TileOptions): Promise<Tiles> {
  const given = asObject(options, 'options');
  checkKeys(given, ['model', 'maxTiles', 'orient', 'maxPixels'], 'options');
  const orient = optionalBoolean(given['orient'], 'options.orient') ?? true;
  const maxPixels =
    optionalNumber(given['maxPixels'], 'options.maxPixels', { min: 1, max: 1e9, integer: true, fallback: '100000000' }) ?? 1e8;
  const most = optionalNumber(given['maxTiles'], 'options.maxTiles', { min: 1, max: 12, integer: true });
  const source = interpretSource(image, 'image');
  const { folder } = await findCheckpoint(given['model'] ?? 'nvlm-tiny-d');
  const config = await readTiling(folder);
  const { data, width, height } = await readPixels(source, { orient, maxPixels, where: 'image' });
  const grid = chooseGrid(width, height, { ...config, maxTiles: most ?? config.maxTiles });
  const count = tileCount(grid, config.useThumbnail);
  const thumbnail = count > grid.columns * grid.rows;
  const { tileSize } = config;
  const bytes = await new Promise<Uint8Array>((resolve, reject) => {
    native().cutTiles({ pixels: data, width, height, ...grid }, tileSize, thumbnail, (failure, value) => {
      if (failure !== null) reject(fromNative(failure));
      else resolve(value as Uint8Array);
    });
  });
  const size = tileSize * tileSize * 3;
  const pixels = Array.from({ length: count }, (_, tile) => bytes.subarray(tile * size, (tile + 1) * size));
  return { width, height, ...grid, tileSize, tags: tileTags(count), pixels };
}

async function readTiling(folder: string): Promise<Parameters<typeof chooseGrid>[2]> {
  const file = join(folder, 'config.json');
  const config = (await readJson(file)) ?? {};
  const integer = (key: string, fallback: number): number => {
    const value = config[key] ?? fallback;
    if (typeof value === 'number' && Number.isInteger(value) && value > 0) return value;
    throw new NvlmError('unsupported-config', `${file}: ${key} is ${show(value)}, which is no positive integer. Correct the file.`);
  };
  return {
    tileSize: integer('force_image_size', 448),
    minTiles: integer('min_dynamic_patch', 1),
    maxTiles: integer('max_dynamic_patch', 6),
    dynamicTiles: config['dynamic_image_size'] !== false,
    useThumbnail: config['use_thumbnail'] !== false,
  };
}
