/** What a model sees of an image: its tiles, without running a model. */

import { fromNative } from '../errors.js';
import { interpretSource, readPixels } from '../image/source.js';
import { interpretLoad } from './load-options.js';
import { inspect } from './model.js';
import { native } from '../engine/native.js';
import { asObject, checkKeys, optionalBoolean } from '../checks.js';
import { tileTags } from '../prompt/templates.js';
import { chooseGrid, tileCount } from '../image/tiling.js';
import type { ImageInput, ImageOptions, LoadOptions } from '../types.js';

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

/** Cuts an image into the tiles that a model would see, thumbnail last. Of the model, only the config and the weights' headers are read. */
export async function tileImage(image: ImageInput, options?: TileOptions): Promise<Tiles> {
  const given = asObject(options, 'options');
  checkKeys(given, ['model', 'maxTiles', 'orient', 'maxPixels'], 'options');
  const orient = optionalBoolean(given['orient'], 'options.orient') ?? true;
  // No model runs, so no GPU need be woken.
  const settings = { device: 'cpu', maxTiles: given['maxTiles'], maxPixels: given['maxPixels'] } as LoadOptions;
  const { maxPixels } = interpretLoad(settings);
  const source = interpretSource(image, 'image');
  const model = await inspect((given['model'] ?? 'nvlm-tiny-d') as string, settings);
  const { data, width, height } = await readPixels(source, { orient, maxPixels, where: 'image' });
  const grid = chooseGrid(width, height, model);
  const count = tileCount(grid, model.useThumbnail);
  const thumbnail = count > grid.columns * grid.rows;
  const { tileSize } = model;
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
