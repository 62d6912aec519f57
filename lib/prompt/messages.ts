/** Messages as the user writes them -> turns of text and image places, and the images in order. Reads no image. */

import { asObject, checkKeys, show } from '../checks.js';
import { NvlmError } from '../errors.js';
import { type StoredImage, storedImage } from '../image/encoded.js';
import { type ImageSource, interpretSource } from '../image/source.js';
import { checkOptions } from '../options/read.js';
import { imageOptions } from '../options/table.js';
import type { PromptMessage, PromptPart } from './templates.js';

/** One image of a call. */
export interface CallImage {
  /** What it is called in messages. */
  where: string;
  /** Pixels to come, or an image that was encoded before. */
  source: ImageSource | { kind: 'encoded'; stored: Readonly<StoredImage> };
  /** Most tiles; undefined: the model's. */
  maxTiles: number | undefined;
  orient: boolean;
}

/** Messages and their images, checked. */
export interface Conversation {
  messages: PromptMessage[];
  images: CallImage[];
}

/** What of the model bounds a conversation. */
export interface ConversationLimits {
  minTiles: number;
  maxTiles: number;
  maxImages: number;
}

const ROLES = ['system', 'user', 'assistant'];

/** Checks messages and the images given apart from them, which stand in front of the first user turn. */
export function interpretMessages(messages: unknown, apart: unknown, limits: ConversationLimits): Conversation {
  if (!Array.isArray(messages) || messages.length === 0) {
    throw new NvlmError(
      'bad-messages',
      `Expected an array of messages for options.messages but received ${show(messages)}. Give at least one { role: 'user', content }.`,
    );
  }
  const conversation: Conversation = { messages: [], images: [] };
  const front = interpretApart(apart, limits);
  for (const [index, message] of (messages as unknown[]).entries()) {
    const where = `messages[${index}]`;
    const { role, content } = interpretMessage(message, index, where);
    const turn: PromptMessage = { role, parts: [] };
    if (role === 'user' && front.length > 0) {
      for (const image of front.splice(0)) addImage(conversation, turn.parts, image);
    }
    if (typeof content === 'string') turn.parts.push({ type: 'text', text: content });
    else
      for (const [k, part] of content.entries())
        addPart(conversation, turn.parts, part, `${where}.content[${k}]`, limits);
    conversation.messages.push(turn);
  }
  if (front.length > 0) {
    throw new NvlmError(
      'bad-messages',
      'options.images was given, but no message is from the user. Add a message with role "user".',
    );
  }
  if (conversation.images.length > limits.maxImages) {
    throw new NvlmError(
      'too-many-images',
      `The messages hold ${conversation.images.length} images, and the model was loaded for ${limits.maxImages}. ` +
        'Leave images out, or raise the load option maxImages.',
    );
  }
  return conversation;
}

/** Checks one image and its options, as `encodeImage` takes them. */
export function interpretImage(
  value: unknown,
  options: Record<string, unknown>,
  where: string,
  limits: ConversationLimits,
  imageWhere = `${where}.image`,
): CallImage {
  const stored = storedImage(value);
  const fallback = `${limits.maxTiles}, the model's; the load option maxTiles sets the most`;
  const maxTiles = { ...imageOptions.maxTiles, min: limits.minTiles, max: limits.maxTiles, fallback };
  const checked = checkOptions(options, { ...imageOptions, maxTiles }, where);
  const given = Object.keys(imageOptions).find(key => options[key] !== undefined);
  if (stored !== undefined && given !== undefined) {
    throw new NvlmError(
      'bad-option',
      `${where}.${given} was given for an encoded image, whose tiles are already made. Give it to encodeImage.`,
    );
  }
  const source = stored === undefined ? interpretSource(value, imageWhere) : { kind: 'encoded' as const, stored };
  return { where: imageWhere, source, ...checked };
}

function interpretMessage(value: unknown, index: number, where: string): { role: string; content: string | unknown[] } {
  if (value === undefined) throw new NvlmError('bad-messages', `${where} is undefined. Give { role, content }.`);
  const message = asObject(value, where, 'bad-messages');
  checkKeys(message, ['role', 'content'], where, 'bad-messages');
  const { role, content } = message;
  if (typeof role !== 'string' || !ROLES.includes(role)) {
    throw new NvlmError(
      'bad-messages',
      `Expected 'system', 'user' or 'assistant' for ${where}.role but received ${show(role)}. Choose one.`,
    );
  }
  if (role === 'system' && index > 0) {
    throw new NvlmError(
      'bad-messages',
      `${where} is a system message, which may only come first. Move it to messages[0].`,
    );
  }
  if (typeof content !== 'string' && !Array.isArray(content)) {
    throw new NvlmError(
      'bad-messages',
      `Expected a string or an array of parts for ${where}.content but received ${show(content)}. Parts are { type: 'text', text } and { type: 'image', image }.`,
    );
  }
  return { role, content: content as string | unknown[] };
}

function addPart(
  conversation: Conversation,
  parts: PromptPart[],
  value: unknown,
  where: string,
  limits: ConversationLimits,
): void {
  const part = value === undefined ? { type: undefined } : asObject(value, where, 'bad-messages');
  switch (part['type']) {
    case 'text':
      checkKeys(part, ['type', 'text'], where, 'bad-messages');
      if (typeof part['text'] !== 'string') {
        throw new NvlmError(
          'bad-messages',
          `Expected a string for ${where}.text but received ${show(part['text'])}. Give the text.`,
        );
      }
      parts.push({ type: 'text', text: part['text'] });
      break;
    case 'image':
      addImage(conversation, parts, interpretImagePart(part, where, limits));
      break;
    default:
      throw new NvlmError(
        'bad-messages',
        `Expected 'text' or 'image' for ${where}.type but received ${show(part['type'])}. Write { type: 'text', text } or { type: 'image', image }.`,
      );
  }
}

function addImage(conversation: Conversation, parts: PromptPart[], image: CallImage): void {
  parts.push({ type: 'image' });
  conversation.images.push(image);
}

function interpretImagePart(part: Record<string, unknown>, where: string, limits: ConversationLimits): CallImage {
  checkKeys(part, ['type', 'image', ...Object.keys(imageOptions)], where, 'bad-messages');
  return interpretImage(part['image'], part, where, limits);
}

function interpretApart(apart: unknown, limits: ConversationLimits): CallImage[] {
  if (apart === undefined) return [];
  if (!Array.isArray(apart)) {
    throw new NvlmError(
      'bad-option',
      `Expected an array of images for options.images but received ${show(apart)}. Put it in brackets.`,
    );
  }
  return (apart as unknown[]).map((value, index) => {
    const where = `images[${index}]`;
    const isPart =
      typeof value === 'object' && value !== null && (value as { type?: unknown }).type === 'image' && 'image' in value;
    if (isPart) return interpretImagePart({ ...value }, where, limits);
    return interpretImage(value, {}, where, limits, where);
  });
}
