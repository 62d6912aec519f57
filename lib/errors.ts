/**
 * NvlmError and the one table of its codes. Every failure a user can see is built here; the addon answers `{ code, message }` with the
 * same strings. docs/errors.md is generated from this table.
 */

/** What a code means and what to do about it. */
export interface ErrorDescription {
  /** When it happens: one sentence. */
  readonly description: string;
  /** What to do: one sentence. */
  readonly fix: string;
}

/** Every code an NvlmError can carry. A code never changes its meaning. */
export const errorTable = {
  'unknown-model': {
    description: 'The given name is neither a bundled model nor a folder that exists.',
    fix: 'Use a name that `nvlm models` lists, or the path of a checkpoint folder.',
  },
  'not-a-checkpoint': {
    description:
      'The folder has no config.json, weights or tokenizer, so it is not a checkpoint in Hugging Face layout.',
    fix: 'Point at the folder that holds config.json, *.safetensors and tokenizer.json (or vocab.json and merges.txt).',
  },
  'corrupt-checkpoint': {
    description:
      'A file of the checkpoint is truncated or contradicts itself, or a tensor is missing, unexpected or of the wrong shape.',
    fix: 'Download or copy the named file again and compare its checksum.',
  },
  'unsupported-architecture': {
    description:
      'The file config.json names an architecture other than NVLM_D, NVLM_X or NVLM_H, or a decoder other than Qwen2 or Llama.',
    fix: 'Use a checkpoint of the NVLM 1.0 family.',
  },
  'unsupported-dtype': {
    description: 'A tensor is stored in a type other than bfloat16, float16 or float32.',
    fix: 'Convert the checkpoint to bfloat16.',
  },
  'unsupported-config': {
    description: 'A key of config.json has a value that is not supported or contradicts another key.',
    fix: 'Correct the named key, or use another checkpoint.',
  },
  'out-of-memory': {
    description:
      'The memory the model will need is more than is free on its device (control-group limit included), or an allocation failed.',
    fix: 'Lower contextLength or maxSequences to what the message says would fit, close other models, or use a device with more memory.',
  },
  'not-an-image': {
    description:
      'What was given is not an image in a supported format, or of a kind that its decoder lacks; the message names what was found.',
    fix: 'Give a JPEG, PNG, WebP, GIF, TIFF or AVIF file, or raw pixels { data, width, height, channels }.',
  },
  'truncated-image': {
    description: 'The image file is cut off or damaged.',
    fix: 'Get the file again; a partly downloaded or partly written file cannot be used.',
  },
  'image-too-large': {
    description:
      'The image has more pixels than the limit, a side over 1048576, or 2 GiB or more of bytes; this is found out before it is decoded.',
    fix: 'Make the image smaller, or raise the load option maxPixels if that is the limit.',
  },
  'too-many-images': {
    description: 'The messages hold more images than the model was loaded for.',
    fix: 'Leave images out, or raise the load option maxImages.',
  },
  'prompt-too-long': {
    description: 'The prompt, its image tokens included, leaves no room for an answer in the context.',
    fix: 'Shorten the text, lower maxTiles, leave images out, or load with a larger contextLength.',
  },
  'bad-option': {
    description: 'An option has an unknown name, or a value outside of its range.',
    fix: 'Correct the named option; the message gives the allowed range or the nearest name.',
  },
  'bad-messages': {
    description: 'The messages are not in the form the API takes.',
    fix: 'Give [{ role, content }], where content is a string or parts { type: "text", text } and { type: "image", image }.',
  },
  aborted: {
    description: 'The signal was aborted, or the stream was left before its end.',
    fix: 'Nothing to do: call again if the answer is still wanted.',
  },
  closed: {
    description: 'The model was closed before or during the call, or the image handle was released.',
    fix: 'Load the model again; call close() only when all answers have arrived.',
  },
  'stream-used': {
    description: 'A stream was iterated a second time.',
    fix: 'Keep the parts while reading, or call stream() again.',
  },
  'addon-not-found': {
    description: 'The native addon for this platform could not be loaded.',
    fix: 'Reinstall with install scripts allowed and compilers present, or on a platform that has a prebuild.',
  },
  'device-unavailable': {
    description: 'The asked device does not exist here or cannot be used; the message says why.',
    fix: "Do what the message says, or use device 'cpu' or 'auto'; `nvlm devices` lists what there is.",
  },
  'device-failed': {
    description: 'A GPU or its driver failed while it worked; the process can no longer use it.',
    fix: "End the process and start it anew. If it fails again, check the GPU with nvidia-smi, or use device 'cpu'.",
  },
  'wrong-model': {
    description: 'An encoded image was given to another model than the one that encoded it.',
    fix: 'Encode the image again with the model that is to read it.',
  },
  'file-not-found': {
    description: 'A path or file URL names no file that can be read; the message says why.',
    fix: 'Check the path and its permissions; relative paths start at the working directory of the process.',
  },
  internal: {
    description: 'Something happened that should be impossible.',
    fix: 'Please report it with the message and what was called.',
  },
} as const satisfies Record<string, ErrorDescription>;

/** A stable code of an {@link NvlmError}. */
export type NvlmErrorCode = keyof typeof errorTable;

const marker: unique symbol = Symbol.for('nvlm.error') as never;

/** Every failure of this library. Match `code`, or use {@link NvlmError.is}; `instanceof` fails across copies and realms. */
export class NvlmError extends Error {
  /** What kind of failure, from a stable list. */
  readonly code: NvlmErrorCode;

  constructor(code: NvlmErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'NvlmError';
    this.code = code;
    // Not enumerable: the marker is for NvlmError.is, not for those who print the error.
    Object.defineProperty(this, marker, { value: true });
  }

  /** Whether `value` is an NvlmError, of whatever copy of this package and whatever realm. Narrows to the given code, if any. */
  static is<C extends NvlmErrorCode = NvlmErrorCode>(
    value: unknown,
    code?: C,
  ): value is NvlmError & { readonly code: C } {
    if (typeof value !== 'object' || value === null) return false;
    const error = value as { [marker]?: unknown; code?: unknown };
    return error[marker] === true && (code === undefined || error.code === code);
  }
}

/** What the addon answers when it could not do its work; `code` is a key of the table. */
export interface NativeFailure {
  code: string;
  message: string;
}

/** The NvlmError for what the addon answered. An unknown code means addon and library disagree, which is a fault of ours. */
export function fromNative(failure: NativeFailure): NvlmError {
  if (Object.hasOwn(errorTable, failure.code)) return new NvlmError(failure.code as NvlmErrorCode, failure.message);
  const message = `The addon answered the unknown code "${failure.code}" (${failure.message}). Install library and addon of the same version.`;
  return new NvlmError('internal', message);
}

/** The error of a call whose signal was aborted; `cause` is the signal's reason. */
export function abortedError(reason?: unknown): NvlmError {
  const message = 'The call was aborted. Call again if the answer is still wanted.';
  return new NvlmError('aborted', message, reason === undefined ? undefined : { cause: reason });
}

/** The error of a call on a model that was closed. */
export function closedError(): NvlmError {
  return new NvlmError('closed', 'The model was closed. Load it again to go on asking.');
}
