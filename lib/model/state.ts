/** What the parts of a loaded model share. */

import type { EngineClient } from '../engine/client.js';
import type { ConversationLimits } from '../prompt/messages.js';
import type { PromptContext } from '../prompt/preparation.js';
import type { CrossTags } from '../prompt/templates.js';
import type { Checkpoint, GenerationDefaults } from './checkpoint.js';

/** A loaded model without its public face; a running call holds this, never the Model. */
export interface ModelState extends PromptContext {
  client: EngineClient;
  checkpoint: Checkpoint;
  defaults: GenerationDefaults;
  license: string | null;
  limits: ConversationLimits;
  /** Ids that end an answer. */
  stopIds: Int32Array;
  /** Tags of cross-attended tiles, enough for the largest image; empty where the family has none. */
  crossTags: CrossTags;
}
