/** What a model sees of an image: its tiles, without running a model. */

import { asObject, checkKeys, optionalBoolean } from '../checks.js';
import { addon, answerOf } from '../engine/native.js';
import { interpretSource, readPixels } from '../image/source.js';
import { chooseGrid, tileCount } from '../image/tiling.js';
import { tileTags } from '../prompt/templates.js';
import type { ImageInput, LoadOptions, TileOptions } from '../types/input.js';
import type { Tiles } from '../types/output.js';
import { inspect } from './load.js';
import { interpretLoad } from './load-options.js';

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
  const bytes = await answerOf<Uint8Array>(done =>
    addon().cutTiles({ pixels: data, width, height, ...grid }, tileSize, thumbnail, done),
  );
  const size = tileSize * tileSize * 3;
  const pixels = Array.from({ length: count }, (_, tile) => bytes.subarray(tile * size, (tile + 1) * size));
  return { width, height, ...grid, tileSize, tags: tileTags(count), pixels };
}
