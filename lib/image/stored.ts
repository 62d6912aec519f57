/** The bytes of an image as it is stored: in a file, in a Blob, or in the caller's memory. What is read is always a copy of our own. */

import type { Stats } from 'node:fs';
import { constants, type FileHandle, open, stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { types } from 'node:util';
import { show, showThrown } from '../checks.js';
import { NvlmError } from '../errors.js';
import { ownBytes } from './own-bytes.js';

/** Where the bytes are. */
export type StoredImage =
  | { kind: 'file'; path: string }
  // The length as it was given: bytes that were taken away since then are missed.
  | { kind: 'bytes'; bytes: Uint8Array; length: number }
  | { kind: 'blob'; blob: Blob };

/** Most bytes of an image; Node reads no larger file at once. */
const MOST_BYTES = 2 ** 31 - 1;

/** Characters of a path in a message. */
export const LONGEST_PATH = 200;

/** The first `length` bytes, or all if there are fewer. */
export async function readBeginning(image: StoredImage, length: number, where: string): Promise<Uint8Array> {
  if (image.kind === 'bytes') {
    return ownBytes(image.bytes, Math.min(checkLength(image.length, where), length), where);
  }
  if (image.kind === 'blob') {
    checkLength(image.blob.size, where);
    return blobBytes(image.blob.slice(0, length), where);
  }
  return fromFile(image.path, where, async file => {
    const buffer = Buffer.alloc(length);
    let filled = 0;
    for (let read = -1; read !== 0 && filled < length; filled += read) {
      read = (await file.read(buffer, filled, length - filled, null)).bytesRead;
    }
    return buffer.subarray(0, filled);
  });
}

/** All bytes. */
export async function readWhole(image: StoredImage, where: string): Promise<Uint8Array> {
  if (image.kind === 'bytes') return ownBytes(image.bytes, checkLength(image.length, where), where);
  if (image.kind === 'blob') {
    checkLength(image.blob.size, where);
    return blobBytes(image.blob, where);
  }
  return fromFile(image.path, where, file => file.readFile());
}

/** What is bytes as it stands, as a view. */
export function asBytes(value: unknown): Uint8Array | undefined {
  if (types.isUint8Array(value)) return value;
  if (!types.isAnyArrayBuffer(value)) return undefined;
  // One that was transferred is empty, and no view of it can be made.
  return value.byteLength === 0 ? new Uint8Array() : new Uint8Array(value);
}

/** Opens a file to read from it. Only a regular one: a pipe can be read once, and opening it may wait for ever. */
async function fromFile(path: string, where: string, read: (file: FileHandle) => Promise<Buffer>): Promise<Buffer> {
  let file: FileHandle | undefined;
  try {
    const found = await stat(path);
    if (!found.isFile()) throw notAFile(found, path, where);
    checkLength(found.size, where);
    // It may have become a pipe meanwhile.
    file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    return await read(file);
  } catch (cause) {
    throw NvlmError.is(cause) ? cause : unreadable(path, where, cause);
  } finally {
    await file?.close();
  }
}

/** What is no real Blob may keep the memory it answers, so this is copied as well. */
async function blobBytes(blob: Blob, where: string): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    bytes = asBytes(await blob.arrayBuffer()) ?? new Uint8Array();
  } catch (cause) {
    const message = `${where} is a Blob that cannot be read (${showThrown(cause)}). Make it again from its file.`;
    throw new NvlmError('file-not-found', message, { cause });
  }
  return ownBytes(bytes, bytes.byteLength, where);
}

function checkLength(length: number, where: string): number {
  if (!(length > MOST_BYTES)) return length;
  throw new NvlmError(
    'image-too-large',
    `${where} takes ${length} bytes, more than the limit of ${MOST_BYTES} for one file. Make it smaller.`,
  );
}

function notAFile(found: Stats, path: string, where: string): NvlmError {
  const name = show(path, LONGEST_PATH);
  if (found.isDirectory()) return new NvlmError('not-an-image', `${where} is the folder ${name}. Give a file.`);
  const kind = found.isFIFO() ? 'pipe' : found.isSocket() ? 'socket' : 'device';
  return new NvlmError(
    'not-an-image',
    `${where} is the ${kind} ${name}, and only files are read. Read from it yourself and give the bytes.`,
  );
}

/** Why a file cannot be read, by the system's code. */
function unreadable(path: string, where: string, cause: unknown): NvlmError {
  const code = (cause as NodeJS.ErrnoException).code ?? 'unknown';
  const message = `${where} names the file ${show(path, LONGEST_PATH)}, which ${reason(code, path)}`;
  // The system's error repeats the path, which may be anything.
  return new NvlmError('file-not-found', message, path.length > LONGEST_PATH ? undefined : { cause });
}

function reason(code: string, path: string): string {
  switch (code) {
    case 'ENOENT':
      return `does not exist. Check the path${startOf(path)}.`;
    case 'ENOTDIR':
      return `does not exist: something in its path is a file and not a folder. Check the path${startOf(path)}.`;
    case 'EACCES':
    case 'EPERM':
      return `this process may not read (${code}). Check the permissions of the file and of the folders above it.`;
    case 'ERR_ACCESS_DENIED':
      return "Node's permission model keeps from being read. Start with --allow-fs-read for it.";
    case 'ENAMETOOLONG':
      return 'is a longer name than a file can have. Give an image that is no file as bytes or as a data: URL.';
    case 'EMFILE':
    case 'ENFILE':
      return `cannot be opened, since too many files are open (${code}). Close some, or give fewer images at once.`;
    default:
      return `cannot be read (${code}). Check the path${startOf(path)}.`;
  }
}

/** Where a relative path starts; the folder may be gone. */
function startOf(path: string): string {
  if (isAbsolute(path)) return '';
  try {
    return `; it starts at ${show(process.cwd(), LONGEST_PATH)}`;
  } catch {
    return '; the working directory no longer exists';
  }
}
