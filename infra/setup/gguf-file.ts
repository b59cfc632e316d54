// Whether a file that somebody names as a model can be one, and what clients may call it.
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { basename } from 'node:path';

/** Why a file is no GGUF model; undefined when it looks like one. Reads its first bytes alone. */
export function whyNoGguf(path: string): string | undefined {
  let file: number;
  try {
    if (statSync(path).isDirectory()) return `${path} is a folder: name the .gguf file in it`;
    file = openSync(path, 'r');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return `there is no file ${path}`;
    return `${path} cannot be read: ${message}`;
  }
  try {
    const head = Buffer.alloc(8);
    const bytes = readSync(file, head, 0, 8, 0);
    return whyNoGgufHead(path, head.subarray(0, bytes));
  } finally {
    closeSync(file);
  }
}

/** Magic and version, in the order of bytes of nearly every GGUF file. Version 1 is of summer 2023 and can be read no more. */
export function whyNoGgufHead(path: string, head: Uint8Array): string | undefined {
  const text = Buffer.from(head.buffer, head.byteOffset, head.length);
  if (text.subarray(0, 40).toString('latin1').startsWith('version ')) {
    return `${path} is a Git LFS pointer and not the model itself: fetch it with git lfs pull`;
  }
  if (text.subarray(0, 4).toString('latin1') !== 'GGUF') {
    return `${path} is not a GGUF file: models for llama.cpp are .gguf files, others (safetensors, PyTorch) have to be converted first`;
  }
  if (text.length < 8) return `${path} ends after ${text.length} bytes: it was not fetched whole`;
  const version = text.readUInt32LE(4);
  if (version < 2 || version > 3) return `${path} is of GGUF version ${version}: 2 and 3 can be read`;
  return undefined;
}

/** For "model" in requests: the file's name without its ending, in lower case. */
export function modelNameOf(path: string): string {
  return basename(path)
    .replace(/\.gguf$/i, '')
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^-+|-+$/g, '');
}
