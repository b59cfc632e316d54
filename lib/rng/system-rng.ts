// Randomness from the operating system, drawn in blocks: one call for every number would cost a microsecond each.
import { randomFillSync } from 'node:crypto';
import type { Rng } from '../ports/rng.ts';
import { idFrom } from './ids.ts';

const block = new Uint32Array(1024);
let used = block.length;

function word(): number {
  if (used === block.length) {
    randomFillSync(block);
    used = 0;
  }
  return block[used++]!;
}

function next(): number {
  // 53 bits: as many as a number in [0, 1) can hold.
  return ((word() >>> 5) * 67_108_864 + (word() >>> 6)) / 9_007_199_254_740_992;
}

export const systemRng: Rng = {
  next,
  seed: word,
  id: (prefix) => idFrom(prefix, () => word() / 4_294_967_296),
};
