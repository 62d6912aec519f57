import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chooseGrid, type TilingConfig, tileCount, tileGrids } from 'nvlm/dist/image/tiling.js';
import { goldenFolder } from './support/golden';

interface Size {
  width: number;
  height: number;
  max6: [number, number];
  max12: [number, number];
}

const sizes = JSON.parse(readFileSync(join(goldenFolder, 'grids.json'), 'utf8')) as Size[];

const config = (maxTiles: number): TilingConfig => ({
  tileSize: 448,
  minTiles: 1,
  maxTiles,
  dynamicTiles: true,
  useThumbnail: true,
});

test('the golden list holds all its 426 sizes', () => {
  expect(sizes).toHaveLength(426);
});

test.each([
  [6, 'max6'],
  [12, 'max12'],
] as const)('with at most %i tiles every golden size gets its golden grid', (maxTiles, key) => {
  const wrong = sizes.filter(size => {
    const { columns, rows } = chooseGrid(size.width, size.height, config(maxTiles));
    return columns !== size[key][0] || rows !== size[key][1];
  });
  expect(wrong).toEqual([]);
});

test('ratios are compared in binary64, which decides exact ties as published', () => {
  expect(chooseGrid(1000, 1200, config(6))).toEqual({ columns: 2, rows: 2 });
  expect(chooseGrid(700, 1200, config(6))).toEqual({ columns: 2, rows: 3 });
});

test('grids come by ascending area and within the bounds', () => {
  const areas = tileGrids(2, 12).map(({ columns, rows }) => columns * rows);
  expect(areas).toEqual(areas.toSorted((a, b) => a - b));
  expect(Math.min(...areas)).toBe(2);
  expect(Math.max(...areas)).toBe(12);
  expect(tileGrids(1, 12)).toHaveLength(35);
});

test('a checkpoint without dynamic tiles makes one tile of every image', () => {
  expect(chooseGrid(4000, 100, { ...config(6), dynamicTiles: false })).toEqual({ columns: 1, rows: 1 });
});

test('a thumbnail is added to more than one tile, if the checkpoint uses one', () => {
  expect(tileCount({ columns: 3, rows: 2 }, true)).toBe(7);
  expect(tileCount({ columns: 1, rows: 1 }, true)).toBe(1);
  expect(tileCount({ columns: 3, rows: 2 }, false)).toBe(6);
});
