/** Reads pictures without a model: as a call does, and as countTokens does. */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type ImageSize, type Pixels, type ReadOptions, readPixels, readSize } from 'nvlm/dist/image/pixels.js';
import { interpretSource } from 'nvlm/dist/image/source.js';
import { failureOf } from './failure';

export const fixtures = join(__dirname, '..', 'fixtures', 'images');

const options: ReadOptions = { orient: true, maxPixels: 1e8, where: 'image' };

/** The pixels of an image. */
export const read = async (image: unknown, more: Partial<ReadOptions> = {}): Promise<Pixels> =>
  readPixels(interpretSource(image, 'image'), { ...options, ...more });

/** Its size, without decoding it. */
export const size = async (image: unknown, more: Partial<ReadOptions> = {}): Promise<ImageSize> =>
  readSize(interpretSource(image, 'image'), { ...options, ...more });

/** The error of an image that neither reads: both must say the same. */
export async function refusal(
  image: unknown,
  more: Partial<ReadOptions> = {},
): Promise<{ code: string; message: string }> {
  const { code, message } = await failureOf(() => size(image, more));
  const { code: sameCode, message: sameMessage } = await failureOf(() => read(image, more));
  expect({ code: sameCode, message: sameMessage }).toEqual({ code, message });
  return { code, message };
}

/** Size and hash of pixels. */
export interface Digest {
  width: number;
  height: number;
  sha256: string;
}

export const digest = ({ data, width, height }: Pixels): Digest => ({
  width,
  height,
  sha256: createHash('sha256').update(data).digest('hex'),
});
