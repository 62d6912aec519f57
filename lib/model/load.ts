/** load() and inspect(): from a name or folder to a model or its description. */

import { EngineClient } from '../engine/client.js';
import { addon, asPromise, cudaLibrary } from '../engine/native.js';
import type { NativeDescription, NativeLoadOptions } from '../engine/native-types.js';
import { abortedError } from '../errors.js';
import { familyOf } from '../prompt/families.js';
import { crossTagIds } from '../prompt/templates.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';
import type { LoadOptions } from '../types/input.js';
import type { Inspection } from '../types/output.js';
import { findCheckpoint, readGenerationDefaults, readLicense } from './checkpoint.js';
import { infoOf } from './info.js';
import { Model } from './model.js';
import { interpretLoad, type LoadSettings } from './settings.js';

/**
 * Loads a model by bundled name (`nvlm-tiny-d`, …) or checkpoint folder. Nothing is downloaded. The memory it will need is planned first;
 * if that is more than is free, this rejects with `out-of-memory` before reading any weights.
 */
export async function load(model: string, options?: LoadOptions): Promise<Model> {
  const settings = interpretLoad(options);
  const checkpoint = await findCheckpoint(model);
  const { folder } = checkpoint;
  if (settings.signal?.aborted) throw abortedError(settings.signal.reason);
  const [tokenizer, defaults, license] = await Promise.all([
    Tokenizer.open(folder),
    readGenerationDefaults(folder),
    readLicense(folder),
  ]);
  try {
    const { client, description } = await EngineClient.load(nativeOptions(folder, settings), settings, settings.signal);
    try {
      const family = familyOf(description.architecture);
      const crossTags = await crossTagIds(tokenizer, family.crossTags ? description.maxTiles : 0);
      const { bytes, offsets } = tokenizer.bytes(description.vocabSize);
      client.setVocabulary(bytes, offsets);
      const ends = family.stopTokens.flatMap(name => tokenizer.findSpecial(name) ?? []);
      const stopIds = Int32Array.from(new Set([...ends, ...defaults.eosIds]));
      const { minTiles, maxTiles, maxImages } = description;
      logNotes(description, settings);
      return new Model({
        checkpoint,
        client,
        description,
        tokenizer,
        defaults,
        license,
        limits: { minTiles, maxTiles, maxImages },
        maxPixels: settings.maxPixels,
        stopIds,
        crossTags,
      });
    } catch (error) {
      await client.close();
      throw error;
    }
  } catch (error) {
    await tokenizer.close();
    throw error;
  }
}

/** What a checkpoint is and will need, from its config and the headers of its weights; loads nothing. */
export async function inspect(model: string, options?: LoadOptions): Promise<Inspection> {
  const settings = interpretLoad(options);
  const checkpoint = await findCheckpoint(model);
  const [license, description] = await Promise.all([
    readLicense(checkpoint.folder),
    asPromise<NativeDescription>(done => addon().inspect(nativeOptions(checkpoint.folder, settings), done)),
  ]);
  return { ...infoOf(checkpoint, description, license), program: description.program ?? [] };
}

function nativeOptions(folder: string, settings: LoadSettings): NativeLoadOptions {
  return { folder, cudaLibrary: cudaLibrary(settings.native.device), ...settings.native };
}

/** Tells `onLog` what a user may not expect of the model as it was loaded. */
function logNotes({ architecture, fallback, maxTiles }: NativeDescription, { onLog }: LoadSettings): void {
  const { trainedTags } = familyOf(architecture);
  if (fallback !== null) onLog?.({ level: 'info', message: `The model runs on the CPU. ${fallback}` });
  if (maxTiles > trainedTags) {
    const message = `Images may have up to ${maxTiles} tiles, and tags above <tile_${trainedTags}> were never trained. Expect worse reading.`;
    onLog?.({ level: 'warn', message });
  }
}
