/** `nvlm inspect MODEL`: what a checkpoint is and will need. */

import { Command } from 'commander';
import { imageUsage } from '../image/tiling.js';
import { inspect, type LoadOptions } from '../index.js';
import { loadOptions } from '../options/table.js';
import { addFlags } from './flags.js';
import { megabytes } from './terminal.js';

const flags = ['maxTiles', 'contextLength', 'threads', 'device'] as const;

interface InspectOptions extends Pick<LoadOptions, (typeof flags)[number]> {
  json?: boolean;
}

/** Sizes whose cost is shown: a chat picture, a photo, a page, a banner. */
const SIZES: readonly [number, number][] = [
  [448, 448],
  [1024, 768],
  [4032, 3024],
  [1240, 1754],
  [3000, 500],
];

export function inspectCommand(): Command {
  const command = new Command('inspect')
    .description("show a model's architecture, sizes, memory plan, tokens per image and the decoder's program")
    .argument('<model>', 'bundled model or checkpoint folder');
  return addFlags(command, loadOptions, ...flags)
    .option('--json', 'print everything as JSON')
    .addHelpText('after', '\nExamples:\n  nvlm inspect nvlm-tiny-x\n  nvlm inspect ./my-checkpoint --json')
    .action(inspectModel);
}

async function inspectModel(name: string, { json, ...options }: InspectOptions): Promise<void> {
  const model = await inspect(name, options);
  const images = SIZES.map(([width, height]) => imageUsage(width, height, model));
  if (json) {
    process.stdout.write(`${JSON.stringify({ ...model, images }, null, 2)}\n`);
    return;
  }
  const { decoder, vision, parameters, memory } = model;
  const cross = decoder.crossLayers.length === 0 ? 'none' : decoder.crossLayers.join(', ');
  const lines = [
    row('model', `${model.name} (${model.folder})`),
    row('architecture', `${model.architecture}, ${model.dtype}, licence ${model.license ?? 'not stated'}`),
    row(
      'encoder',
      `${vision.layers} layers of ${vision.hiddenSize}, ${vision.heads} heads of ${vision.headDim}, ${vision.norm}`,
    ),
    row(
      'decoder',
      `${decoder.layers} layers of ${decoder.hiddenSize}, ${decoder.heads}/${decoder.kvHeads} heads of ${decoder.headDim}`,
    ),
    row('cross-attention', `layers ${cross}`),
    row('tiles', `${model.tileSize} pixels, ${model.tokensPerTile} tokens, at most ${model.maxTiles} and a thumbnail`),
    row('context', `${model.contextLength} positions, ${model.maxSequences} sequences, ${model.maxImages} images each`),
    row('device', [model.device, model.instructionSet ?? [], `${model.threads} threads`].flat().join(', ')),
    '',
    'Parameters',
    row('  encoder', millions(parameters.encoder)),
    row('  projector', millions(parameters.projector)),
    row('  decoder', millions(parameters.decoder)),
    row('  cross-attention', millions(parameters.crossAttention)),
    row('  total', millions(parameters.total)),
    '',
    'Memory',
    row('  weights', megabytes(memory.weights)),
    row('  keys and values', megabytes(memory.kvCache)),
    row('  cross k/v', megabytes(memory.crossCache)),
    row('  activations', megabytes(memory.activations)),
    row('  images', megabytes(memory.images)),
    row('  total', `${megabytes(memory.total)} of ${megabytes(memory.free)} free`),
    '',
    'Image tokens',
    ...images.map(({ width, height, columns, rows, tiles, tokens }) =>
      row(`  ${width}x${height}`, `${columns}x${rows} grid, ${tiles} tiles, ${tokens} tokens`),
    ),
    '',
    'Decoder program',
    ...model.program.map(line => `  ${line}`),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

function row(label: string, text: string): string {
  return `${label.padEnd(18)}${text}`;
}

function millions(count: number): string {
  return `${(count / 1e6).toFixed(2)} M`;
}
