/** Grid choice and tile counts (spec section 3, point 2). Pure functions; all arithmetic is binary64, as published. */

import type { ImageUsage } from '../types/output.js';

/** Columns and rows of tiles. */
export interface Grid {
  columns: number;
  rows: number;
}

/** What decides how an image is tiled; from the checkpoint's config. */
export interface TilingConfig {
  /** Side of a tile in pixels. */
  tileSize: number;
  minTiles: number;
  /** Most tiles, thumbnail not counted. */
  maxTiles: number;
  /** false: every image becomes one tile. */
  dynamicTiles: boolean;
  /** Whether a thumbnail follows when there is more than one tile. */
  useThumbnail: boolean;
}

/**
 * All grids with minTiles ≤ columns·rows ≤ maxTiles by ascending area.
 *
 * Within one area the published code has the order of a Python set, here it is ascending columns. The two differ only for an image whose
 * ratio is exactly half way between two grids of one area; with minTiles = 1 (every published checkpoint) a nearer grid of another area
 * always exists then, so the order decides nothing.
 */
export function tileGrids(minTiles: number, maxTiles: number): Grid[] {
  const grids: Grid[] = [];
  for (let columns = 1; columns <= maxTiles; columns++) {
    for (let rows = 1; rows <= maxTiles; rows++) {
      const area = columns * rows;
      if (area >= minTiles && area <= maxTiles) grids.push({ columns, rows });
    }
  }
  return grids.toSorted((a, b) => a.columns * a.rows - b.columns * b.rows);
}

/** The grid nearest to the image's shape; on an exact tie the later one wins if the image covers over half of its area. */
export function chooseGrid(width: number, height: number, config: TilingConfig): Grid {
  if (!config.dynamicTiles) return { columns: 1, rows: 1 };
  const ratio = width / height;
  const area = width * height;
  let best: Grid = { columns: 1, rows: 1 };
  let bestDifference = Number.POSITIVE_INFINITY;
  for (const grid of tileGrids(config.minTiles, config.maxTiles)) {
    const difference = Math.abs(ratio - grid.columns / grid.rows);
    if (difference < bestDifference) {
      best = grid;
      bestDifference = difference;
    } else if (
      difference === bestDifference &&
      area > 0.5 * config.tileSize * config.tileSize * grid.columns * grid.rows
    ) {
      best = grid;
    }
  }
  return best;
}

/** Tiles of a grid, the thumbnail included where there is one. */
export function tileCount(grid: Grid, useThumbnail: boolean): number {
  const tiles = grid.columns * grid.rows;
  return useThumbnail && tiles > 1 ? tiles + 1 : tiles;
}

/** What an image of this size takes: its grid, its tiles and all their tokens. */
export function imageUsage(
  width: number,
  height: number,
  config: TilingConfig & { tokensPerTile: number },
): Omit<ImageUsage, 'pages'> {
  const grid = chooseGrid(width, height, config);
  const tiles = tileCount(grid, config.useThumbnail);
  return { width, height, ...grid, tiles, tokens: tiles * config.tokensPerTile };
}
