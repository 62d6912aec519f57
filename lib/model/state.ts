/** What the parts of a loaded model share. */

import type { Checkpoint, GenerationDefaults } from './checkpoint.js';
import type { EngineClient } from '../engine/client.js';
import type { ConversationLimits } from '../prompt/messages.js';
import type { NativeDescription } from '../engine/native-types.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';

/** A loaded model without its public face; a running call holds this, never the Model. */
export interface ModelState {
  checkpoint: Checkpoint;
  client: EngineClient;
  description: NativeDescription;
  tokenizer: Tokenizer;
  defaults: GenerationDefaults;
  license: string | null;
  limits: ConversationLimits;
  /** Most pixels of an image. */
  maxPixels: number;
  /** Ids that end an answer. */
  stopIds: Int32Array;
  /** H only: the cross-attended tags, enough for the largest image; else empty. */
  tileTags: { ids: Int32Array; lengths: Int32Array };
}
