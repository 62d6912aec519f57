/** Models and pictures that several tests use. */

import { join } from 'node:path';
import { goldenFolder } from './golden';

export const root = join(__dirname, '..', '..');
export const bundled = ['nvlm-tiny-d', 'nvlm-tiny-h', 'nvlm-tiny-x'] as const;
export const evalFolder = join(__dirname, '..', 'eval');

/** A checkpoint of random weights that answers line breaks for ever: what a call that must be interrupted needs. */
export const endless = join(goldenFolder, 'd-internvit300m-style');

/** The CUDA library over the emulator (test/native/emulator): what the tests load in place of a GPU. */
export const emulator = join(root, 'out', 'release', 'Release', 'nvlm_emulator.so');

/** Six tiles and a thumbnail. */
export const picture = join(goldenFolder, 'd-six-tiles', 'image1.png');

/** A question about one image. */
export const ask = (image: string, question: string) => [
  {
    role: 'user' as const,
    content: [
      { type: 'image' as const, image },
      { type: 'text' as const, text: question },
    ],
  },
];
