/** One run of the vision encoder, for `model.encodeImage`. */

import type { RequestSink } from '../engine/client.js';
import type { NativeImage } from '../engine/native-types.js';
import { abortedError } from '../errors.js';
import { createHandle } from '../image/encoded.js';
import type { CallImage } from '../prompt/messages.js';
import { prepareImage } from '../prompt/preparation.js';
import type { EncodedImage } from '../types/output.js';
import type { ModelState } from './state.js';

/** Decodes an image, runs the encoder on its tiles and answers the handle of what came out. */
export function encodeImage(
  state: ModelState,
  image: CallImage,
  signal: AbortSignal | undefined,
): Promise<EncodedImage> {
  const { client } = state;
  return client.hold(async () => {
    const { native, usage } = await prepareImage(state, image);
    if (signal?.aborted) throw abortedError(signal.reason);
    const { handle, bytes } = await runEncoder(state, native, signal);
    return createHandle({ owner: client, id: handle, usage, release: id => client.release(id) }, bytes);
  });
}

function runEncoder(
  { client, crossTags }: ModelState,
  image: NativeImage,
  signal: AbortSignal | undefined,
): Promise<{ handle: number; bytes: number }> {
  return new Promise((resolve, reject) => {
    const sink: RequestSink = {
      onEvent: event => {
        if (event.type !== 'encoded') return;
        signal?.removeEventListener('abort', abort);
        resolve(event);
      },
      onError: error => {
        signal?.removeEventListener('abort', abort);
        reject(signal?.aborted && error.code === 'aborted' ? abortedError(signal.reason) : error);
      },
    };
    const request = client.encode(image, crossTags, sink);
    const abort = (): void => client.cancel(request);
    signal?.addEventListener('abort', abort, { once: true });
  });
}
