/** `nvlm ask IMAGE… "question"`: streams the answer to stdout. */

import { existsSync } from 'node:fs';
import { Command } from 'commander';
import { show } from '../checks.js';
import { type GenerateOptions, type LoadOptions, load, NvlmError } from '../index.js';
import { imageArgument, interruptSignal, numberArgument, progressLine } from './terminal.js';

interface AskOptions {
  model: string;
  system?: string;
  device?: LoadOptions['device'];
  threads?: number;
  maxTiles?: number;
  maxTokens?: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  seed?: number;
  stop?: string[];
  orient: boolean;
  json?: boolean;
}

export function askCommand(): Command {
  return new Command('ask')
    .description('ask a question about images; the last argument is the question')
    .argument('<image-or-question...>', 'images (paths, data: URLs, or - for standard input), then the question')
    .option('-m, --model <name>', 'bundled model or checkpoint folder', 'nvlm-tiny-d')
    .option('-s, --system <text>', 'system message')
    .option('--device <name>', 'auto, cpu, cuda or cuda:N; nvlm devices lists them')
    .option('--threads <n>', 'CPU threads', numberArgument)
    .option('--max-tiles <n>', 'most tiles of an image', numberArgument)
    .option('--max-tokens <n>', 'tokens to answer at most', numberArgument)
    .option('--temperature <t>', '0 takes the likeliest token', numberArgument)
    .option('--top-k <n>', 'sample among so many tokens', numberArgument)
    .option('--top-p <p>', 'sample among the likeliest tokens of this probability', numberArgument)
    .option('--seed <n>', 'same seed, same text', numberArgument)
    .option('--stop <text...>', 'texts that end the answer')
    .option('--no-orient', 'do not apply the EXIF orientation')
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
  const model = await load(name, { device, threads, maxTiles, onProgress, signal }).finally(clear);
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
