// Whether a file can be a model at all, by its first bytes: the package of the engine reads a damaged beginning for ever.
import { closeSync, openSync, readSync, statSync } from 'node:fs';

/** More of them has no model (llama.cpp's own limit of tensors is far below). */
const maxTensors = 100_000n;
const maxKeys = 100_000n;

/** What is wrong with it, and what to do; undefined: it may be one. */
export function whyNoModel(path: string): string | undefined {
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return `there is no model file ${path}: set llama.model of the pool to a GGUF file`;
  const head = new Uint8Array(24);
  const file = openSync(path, 'r');
  const length = readSync(file, head, 0, head.length, 0);
  closeSync(file);
  return looksLikeGguf(head.subarray(0, length)) ? undefined : `${path} cannot be used as a model: it is not a GGUF file of version 2 or 3`;
}

/** `head`: its first 24 bytes: magic, version, counts of tensors and of keys (docs/gguf.md of ggml-org/ggml). */
export function looksLikeGguf(head: Uint8Array): boolean {
  if (head.length < 24) return false;
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const version = view.getUint32(4, true);
  const isKnown = view.getUint32(0) === 0x47475546 && (version === 2 || version === 3);
  return isKnown && view.getBigUint64(8, true) <= maxTensors && view.getBigUint64(16, true) <= maxKeys;
}
