/** A picture as text that nothing says is one: base64 without its `data:` in front, where a path was expected. */

import { type Format, recognize } from './formats.js';

/** Characters that are looked at. No path is longer. */
export const LOOKED_AT = 4096;

/** What a text looks like that is an encoded picture; undefined where it does not, and a path may be meant. */
export function encodingOf(text: string): 'base64' | 'hex' | undefined {
  if (/^[\w.+/-]{0,100};base64,/i.test(text)) return 'base64';
  const head = text.slice(0, LOOKED_AT).replace(/[\r\n]/g, '');
  if (/^([0-9a-f]{2})+[0-9a-f]?$/i.test(head) && isPicture(head, 'hex', text.length)) return 'hex';
  // Both alphabets, that of URLs too.
  if (!/^[a-z0-9+/_-]+={0,2}$/i.test(head)) return undefined;
  return isPicture(head, 'base64', text.length) ? 'base64' : undefined;
}

/** Whether it begins like a picture and is too long for that to be by chance. The signs of some formats are short: /9j/ is a JPEG. */
function isPicture(head: string, encoding: 'base64' | 'hex', length: number): boolean {
  const found = recognize(Buffer.from(head, encoding));
  if (found === undefined) return length > LOOKED_AT;
  if (typeof found !== 'string') return length >= 1024;
  return length >= (found === 'jpeg' ? 200 : 40);
}

/** The type to name in a data: URL of this text. */
export function mediaTypeOf(text: string): string {
  const found = recognize(Buffer.from(text.slice(0, LOOKED_AT), 'base64'));
  return typeof found === 'string' ? MEDIA_TYPES[found] : MEDIA_TYPES.png;
}

const MEDIA_TYPES: Readonly<Record<Format, string>> = {
  jpeg: 'image/jpeg',
  png: 'image/png',
  gif: 'image/gif',
  webp: 'image/webp',
  tiff: 'image/tiff',
  avif: 'image/avif',
};
