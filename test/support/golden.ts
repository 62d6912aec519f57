/** The golden cases as the tests read them. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ContentPart, Message } from 'nvlm';

export const goldenFolder = join(__dirname, '..', 'golden');

export interface GoldenCase {
  name: string;
  folder: string;
  arch: 'D' | 'X' | 'H';
  /** With the images' paths in place. */
  messages: Message[];
  images: string[];
  grids: [number, number][];
  input_ids: number[];
  greedy_ids: number[];
  greedy_text: string;
}

/** All golden cases; an image part without an image gets the next of `images`. */
export function goldenCases(): GoldenCase[] {
  const names = readdirSync(goldenFolder, { withFileTypes: true })
    .filter(entry => entry.isDirectory())
    .map(entry => entry.name)
    .toSorted();
  return names.map(name => {
    const folder = join(goldenFolder, name);
    const stored = JSON.parse(readFileSync(join(folder, 'case.json'), 'utf8')) as Omit<GoldenCase, 'name' | 'folder'>;
    const images = stored.images.map(file => join(folder, file));
    const waiting = [...images];
    const messages = stored.messages.map(({ role, content }) => ({
      role,
      content:
        typeof content === 'string'
          ? content
          : content.map(
              (part): ContentPart => (part.type === 'image' ? { type: 'image', image: waiting.shift() ?? '' } : part),
            ),
    }));
    return { ...stored, name, folder, images, messages };
  });
}
