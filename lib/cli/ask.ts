/** `nvlm ask IMAGE… "question"`: streams the answer to stdout. */

import { existsSync } from 'node:fs';
import { Command } from 'commander';
import { show } from '../checks.js';
import { type GenerateOptions, type LoadOptions, load, NvlmError } from '../index.js';
import { callOptions, imageOptions, loadOptions } from '../options/table.js';
import { addFlags } from './flags.js';
import { imageArgument, interruptSignal, printWarning, progressLine } from './terminal.js';

const loadFlags = ['device', 'threads', 'maxTiles'] as const;
const callFlags = ['maxTokens', 'temperature', 'topK', 'topP', 'seed', 'stop'] as const;

interface AskOptions
  extends Pick<LoadOptions, (typeof loadFlags)[number]>,
    Pick<GenerateOptions, (typeof callFlags)[number]> {
  model: string;
  system?: string;
  orient: boolean;
  json?: boolean;
}

export function askCommand(): Command {
  const command = new Command('ask')
    .description('ask a question about images; the last argument is the question')
    .argument('<image-or-question...>', 'images (paths, data: URLs, or - for standard input), then the question')
    .option('-m, --model <name>', 'bundled model or checkpoint folder', 'nvlm-tiny-d')
    .option('-s, --system <text>', 'system message');
  addFlags(command, loadOptions, ...loadFlags);
  addFlags(command, callOptions, ...callFlags);
  addFlags(command, imageOptions, 'orient');
  return command
    .option('--json', 'print the whole result as JSON')
    .addHelpText(
      'after',
      `
Examples:
  nvlm ask receipt.png "What is the total?"
  nvlm ask a.png b.png "What is in these images?" --model nvlm-tiny-x
  nvlm ask "What is 2 + 3?"
  curl -s https://example.org/sign.jpg | nvlm ask - "What does the text say?" --json`,
    )
    .action(ask);
}

async function ask(given: string[], options: AskOptions): Promise<void> {
  const question = given.at(-1) ?? '';
  if (question === '-' || existsSync(question)) {
    throw new NvlmError(
      'bad-option',
      `The last argument is the question, but ${show(question)} is an image. Put the question behind it.`,
    );
  }
  const { signal, done } = interruptSignal();
  const { onProgress, clear } = progressLine();
  const { model: name, device, threads, maxTiles, system, orient, json, ...sampling } = options;
  const images = await Promise.all(given.slice(0, -1).map(imageArgument));
  const model = await load(name, { device, threads, maxTiles, onProgress, onLog: printWarning, signal }).finally(clear);
  try {
    const request: GenerateOptions = {
      ...sampling,
      messages: [
        ...(system === undefined ? [] : [{ role: 'system' as const, content: system }]),
        {
          role: 'user',
          content: [
            ...images.map(image => ({ type: 'image' as const, image, orient })),
            { type: 'text', text: question },
          ],
        },
      ],
      signal,
    };
    for await (const part of model.stream(request)) {
      if (part.type === 'text' && !json) process.stdout.write(part.text);
      if (part.type === 'finish')
        process.stdout.write(json ? `${JSON.stringify({ model: model.info.name, ...part.result }, null, 2)}\n` : '\n');
    }
  } finally {
    done();
    await model.close();
  }
}
