import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tileImage } from 'nvlm';
import sharp from 'sharp';
import { failureOf } from './support/failure';
import { picture, root } from './support/models';

test('an image is cut as the model sees it, thumbnail last', async () => {
  const { data, info } = await sharp(picture).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const cut = await tileImage(picture);
  expect(cut).toMatchObject({ width: info.width, height: info.height, columns: 3, rows: 2, tileSize: 112 });
  expect(cut.tags).toEqual([
    '<tile_1>',
    '<tile_2>',
    '<tile_3>',
    '<tile_4>',
    '<tile_5>',
    '<tile_6>',
    '<tile_global_thumbnail>',
  ]);
  expect(cut.pixels.map(({ length }) => length)).toEqual(Array.from({ length: 7 }, () => 112 * 112 * 3));
  const raw = await tileImage({ data, width: info.width, height: info.height, channels: 3 });
  expect(raw.pixels).toEqual(cut.pixels);
});

test('an image of exactly one tile is that tile, and carries the thumbnail tag', async () => {
  const data = Uint8Array.from({ length: 112 * 112 * 3 }, (_, k) => (k * 7) % 256);
  const cut = await tileImage({ data, width: 112, height: 112, channels: 3 });
  expect(cut.tags).toEqual(['<tile_global_thumbnail>']);
  expect(Buffer.from(cut.pixels[0] ?? []).equals(Buffer.from(data))).toBe(true);
});

test('maxTiles bounds the grid', async () => {
  expect((await tileImage(picture, { maxTiles: 2 })).tags.length).toBeLessThanOrEqual(3);
  const wide = { data: new Uint8Array(1200 * 900 * 3), width: 1200, height: 900, channels: 3 as const };
  expect(await tileImage(wide, { maxTiles: 12 })).toMatchObject({ columns: 4, rows: 3 });
});

describe('a checkpoint is read as load reads it', () => {
  const stored = join(root, 'models', 'nvlm-tiny-d');
  const config = JSON.parse(readFileSync(join(stored, 'config.json'), 'utf8')) as Record<string, unknown>;
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'nvlm-tiles-'));
    symlinkSync(join(stored, 'model.safetensors'), join(folder, 'model.safetensors'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  const cut = async (changes: Record<string, unknown>): Promise<{ tileSize: number; tiles: number }> => {
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, ...changes }));
    const { tileSize, tags } = await tileImage(picture, { model: folder });
    return { tileSize, tiles: tags.length };
  };

  test('its keys decide', async () => {
    expect(await cut({})).toEqual({ tileSize: 112, tiles: 7 });
    expect(await cut({ force_image_size: null })).toEqual({ tileSize: 112, tiles: 7 });
    expect(await cut({ use_thumbnail: false })).toEqual({ tileSize: 112, tiles: 6 });
    expect(await cut({ dynamic_image_size: false })).toEqual({ tileSize: 112, tiles: 1 });
    expect(await cut({ max_dynamic_patch: 2 })).toEqual({ tileSize: 112, tiles: 3 });
  });

  test('its contradictions are refused', async () => {
    const error = await failureOf(() => cut({ min_dynamic_patch: 4, max_dynamic_patch: 2 }));
    expect(error.code).toBe('unsupported-config');
    expect(error.message).toContain('min_dynamic_patch');
  });
});

test.each([
  ['an unknown option', picture, { maxTile: 1 }, 'bad-option', 'Did you mean maxTiles?'],
  ['13 tiles', picture, { maxTiles: 13 }, 'bad-option', 'between 1 and 12'],
  ['an unknown model', picture, { model: 'nvlm-huge' }, 'unknown-model', 'nvlm-huge'],
  ['too many pixels', picture, { maxPixels: 10 }, 'image-too-large', 'limit of 10'],
  ['no image', 7, {}, 'bad-messages', 'for image but received 7'],
] as const)('%s is refused', async (_, image, options, code, named) => {
  const error = await failureOf(() => tileImage(image as never, options as never));
  expect(error.code).toBe(code);
  expect(error.message).toContain(named);
});
