/** What a model sees of an image: its tiles, without running a model. */

import { addon, asPromise } from '../engine/native.js';
import { readPixels } from '../image/pixels.js';
import { interpretSource } from '../image/source.js';
import { chooseGrid, tileCount } from '../image/tiling.js';
import { checkOptions, knownOptions } from '../options/read.js';
import { tileOptions } from '../options/table.js';
import { tileTags } from '../prompt/templates.js';
import type { ImageInput, TileOptions } from '../types/input.js';
import type { Tiles } from '../types/output.js';
import { inspect } from './load.js';

/** Cuts an image into the tiles that a model would see, thumbnail last. Of the model, only the config and the weights' headers are read. */
export async function tileImage(image: ImageInput, options?: TileOptions): Promise<Tiles> {
  const { model: name, maxTiles, orient, maxPixels } = checkOptions(knownOptions(options, tileOptions), tileOptions);
  const source = interpretSource(image, 'image');
  // No model runs, so no GPU need be woken.
  const model = await inspect(name as string, { device: 'cpu', maxTiles });
  const { data, width, height, pages } = await readPixels(source, { orient, maxPixels, where: 'image' });
  const grid = chooseGrid(width, height, model);
  const count = tileCount(grid, model.useThumbnail);
  const thumbnail = count > grid.columns * grid.rows;
  const { tileSize } = model;
  const bytes = await asPromise<Uint8Array>(done =>
    addon().cutTiles({ pixels: data, width, height, ...grid }, tileSize, thumbnail, done),
  );
  const size = tileSize * tileSize * 3;
  const pixels = Array.from({ length: count }, (_, tile) => bytes.subarray(tile * size, (tile + 1) * size));
  return { width, height, pages, ...grid, tileSize, tags: tileTags(count), pixels };
}
