/** `nvlm tiles IMAGE -o out.png`: draws what a model sees of an image. */

import { Command } from 'commander';
import sharp from 'sharp';
import { type TileOptions, type Tiles, tileImage } from '../index.js';
import { tileOptions } from '../options/table.js';
import { addFlags } from './flags.js';
import { imageArgument } from './terminal.js';

interface TilesOptions extends Pick<TileOptions, 'maxTiles' | 'orient'> {
  output: string;
  model: string;
  json?: boolean;
}

/** Pixels between tiles, and the height of a tag's line above each. */
const GAP = 12;
const LABEL = 26;

export function tilesCommand(): Command {
  const command = new Command('tiles')
    .description('draw the chosen grid, its tags and the thumbnail, as the model sees the image')
    .argument('<image>', 'a path, a data: URL, or - for standard input')
    .requiredOption('-o, --output <file>', 'PNG to write; - for standard output')
    .option('-m, --model <name>', 'model whose tiling is used', 'nvlm-tiny-d');
  return addFlags(command, tileOptions, 'maxTiles', 'orient')
    .option('--json', 'print grid and tags as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  nvlm tiles chart.png -o tiles.png\n  nvlm tiles chart.png -o tiles.png --max-tiles 12 --json',
    )
    .action(tiles);
}

async function tiles(image: string, { output, model, maxTiles, orient, json }: TilesOptions): Promise<void> {
  const cut = await tileImage(await imageArgument(image), { model, maxTiles, orient });
  const png = await draw(cut).png().toBuffer();
  if (output === '-') process.stdout.write(png);
  else await sharp(png).toFile(output);
  const { width, height, pages, columns, rows, tileSize, tags } = cut;
  const report = json
    ? JSON.stringify({ width, height, pages, columns, rows, tileSize, tags }, null, 2)
    : `${width}x${height} pixels, ${columns}x${rows} grid of ${tileSize}, ${tags.length} tiles${pages > 1 ? `; the first of ${pages} pictures in the file` : ''}`;
  // The picture itself may be on stdout.
  (output === '-' ? process.stderr : process.stdout).write(`${report}\n`);
}

/** The grid with a tag over each tile; the thumbnail, if it is not the only tile, stands to the right under its tag. */
function draw({ columns, rows, tileSize, tags, pixels }: Tiles): sharp.Sharp {
  const hasThumbnail = tags.length > columns * rows;
  const step = { x: tileSize + GAP, y: tileSize + LABEL + GAP };
  const width = GAP + (columns + (hasThumbnail ? 1 : 0)) * step.x + (hasThumbnail ? GAP : 0);
  const height = GAP + rows * step.y;
  const place = (tile: number): { left: number; top: number } =>
    tile < columns * rows
      ? { left: GAP + (tile % columns) * step.x, top: GAP + Math.floor(tile / columns) * step.y }
      : { left: 2 * GAP + columns * step.x, top: GAP };
  const layers = pixels.flatMap((data, tile): sharp.OverlayOptions[] => {
    const { left, top } = place(tile);
    const raw = { width: tileSize, height: tileSize, channels: 3 as const };
    return [
      { input: tagLine(tags[tile] ?? '', tileSize), left, top },
      { input: Buffer.from(data.buffer, data.byteOffset, data.byteLength), raw, left, top: top + LABEL },
    ];
  });
  return sharp({ create: { width, height, channels: 3, background: '#e8e8e8' } }).composite(layers);
}

function tagLine(tag: string, width: number): Buffer {
  const text = tag.replace(/[<>&]/g, c => `&#${c.charCodeAt(0)};`);
  // Long tags must fit over small tiles; 0.6 em is the advance of a monospaced letter.
  const size = Math.min(16, width / tag.length / 0.6);
  return Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${LABEL}"><text x="0" y="18" font-family="monospace" ` +
      `font-size="${size}" fill="#222">${text}</text></svg>`,
  );
}
