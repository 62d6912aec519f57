/** Images and messages of a call -> what the engine takes, and what they cost. */

import type { NativeDescription, NativeImage } from '../engine/native-types.js';
import { closedError, NvlmError } from '../errors.js';
import { type ImageSize, readPixels, readSize } from '../image/pixels.js';
import { imageUsage } from '../image/tiling.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { LogEntry } from '../types/input.js';
import type { ImageUsage, TokenCount } from '../types/output.js';
import { familyOf } from './families.js';
import type { CallImage } from './messages.js';
import { encodePrompt, type Prompt, type PromptMessage, promptRuns } from './templates.js';

/** What of a loaded model shapes its prompts. */
export interface PromptContext {
  /** Owner of the images that it encoded; tells the user what there is to tell. */
  client: { log(entry: LogEntry): void };
  description: NativeDescription;
  tokenizer: Tokenizer;
  /** Most pixels of an image. */
  maxPixels: number;
}

/** An image that is ready for the engine. */
export interface PreparedImage {
  native: NativeImage;
  usage: ImageUsage;
}

/** A prompt with its cost. */
export interface PreparedPrompt extends Prompt {
  usage: Omit<TokenCount, 'room'>;
}

/** Decodes the images of a call at once; `stopped` is asked between images so that an aborted call reads no more. */
export async function prepareImages(
  context: PromptContext,
  images: readonly CallImage[],
  stopped: () => boolean,
): Promise<PreparedImage[]> {
  return Promise.all(images.map(image => (stopped() ? Promise.reject(closedError()) : prepareImage(context, image))));
}

/** Decodes one image and chooses its grid. */
export async function prepareImage(context: PromptContext, image: CallImage): Promise<PreparedImage> {
  if (image.source.kind === 'encoded') return fromEncoder(context, image);
  const pixels = await readPixels(image.source, {
    orient: image.orient,
    maxPixels: context.maxPixels,
    where: image.where,
  });
  const usage = usageOf(context, pixels, image);
  const native = {
    pixels: pixels.data,
    width: pixels.width,
    height: pixels.height,
    columns: usage.columns,
    rows: usage.rows,
  };
  return { native, usage };
}

/** What an image will cost, from its header alone. */
export async function measureImage(context: PromptContext, image: CallImage): Promise<ImageUsage> {
  if (image.source.kind === 'encoded') return fromEncoder(context, image).usage;
  const size = await readSize(image.source, { orient: image.orient, maxPixels: context.maxPixels, where: image.where });
  return usageOf(context, size, image);
}

/** Encodes the messages for images of the given cost. */
export async function preparePrompt(
  context: PromptContext,
  messages: readonly PromptMessage[],
  images: readonly { usage: ImageUsage }[],
): Promise<PreparedPrompt> {
  const { architecture, tokensPerTile, systemMessage } = context.description;
  const config = { family: familyOf(architecture), tokensPerTile, systemMessage };
  const usages = images.map(image => image.usage);
  const runs = promptRuns(
    messages,
    config,
    usages.map(usage => usage.tiles),
  );
  const prompt = await encodePrompt(runs, config, context.tokenizer);
  const promptTokens = prompt.ids.length;
  const textTokens = promptTokens - (prompt.slots.length / 3) * tokensPerTile;
  const imageTokens = usages.reduce((sum, usage) => sum + usage.tokens, 0);
  return { ...prompt, usage: { promptTokens, textTokens, imageTokens, images: usages } };
}

/** The error of a prompt that leaves no room, with what each image takes. */
export function promptTooLong(usage: Omit<TokenCount, 'room'>, contextLength: number): NvlmError {
  const images = usage.images.map(
    (image, k) => `image ${k + 1} has ${image.tokens} image tokens (${image.tiles} tiles)`,
  );
  const parts = [`${usage.textTokens} are text`, ...images].join(', ');
  return new NvlmError(
    'prompt-too-long',
    `The prompt is ${usage.promptTokens} tokens long (${parts}), and the context of ${contextLength} must hold at least one more. ` +
      'Shorten the text, lower maxTiles, leave images out, or load with a larger contextLength.',
  );
}

function fromEncoder(context: PromptContext, image: CallImage): PreparedImage {
  if (image.source.kind !== 'encoded')
    throw new NvlmError('internal', `${image.where} is not an encoded image. Please report it.`);
  const { stored } = image.source;
  if (stored.owner !== context.client) {
    throw new NvlmError(
      'wrong-model',
      `${image.where} was encoded by another model. Encode it again with the model that is to read it.`,
    );
  }
  if (stored.released)
    throw new NvlmError('closed', `${image.where} is an encoded image that was released. Encode it again.`);
  return { native: { handle: stored.id }, usage: stored.usage };
}

/** What an image of this size costs. Pictures of its file that are left out are told. */
function usageOf(
  { client, description }: PromptContext,
  { width, height, pages }: ImageSize,
  { where, maxTiles }: CallImage,
): ImageUsage {
  if (pages > 1) {
    const message = `${where} holds ${pages} pictures (frames or pages), and only the first is read. Give the others as images of their own.`;
    client.log({ level: 'warn', message });
  }
  return { ...imageUsage(width, height, { ...description, maxTiles: maxTiles ?? description.maxTiles }), pages };
}
