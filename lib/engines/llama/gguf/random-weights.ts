// Random half-precision weights, the same on every machine: integer arithmetic only, one stream of numbers for each tensor,
// so that a tensor does not depend on those before it.
import { hashOf } from '../../../../core/routing/seeded-random.ts';

/** xoshiro128** 1.1 (Blackman and Vigna) from a state of four 32-bit numbers that are not all zero. Gives unsigned 32-bit numbers. */
export function xoshiro128(state: readonly [number, number, number, number]): () => number {
  let [a, b, c, d] = state;
  return () => {
    const times5 = Math.imul(b, 5);
    const result = Math.imul((times5 << 7) | (times5 >>> 25), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = (d << 11) | (d >>> 21);
    return result;
  };
}

/** A state made of one number: a Weyl sequence, mixed by MurmurHash3's finaliser. */
function seeded(seed: number): () => number {
  const mixed = (step: number) => {
    let z = (seed + Math.imul(0x9e3779b9, step)) >>> 0;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return z ^ (z >>> 16);
  };
  return xoshiro128([mixed(1), mixed(2), mixed(3), mixed(4)]);
}

/**
 * Fills float16 bytes with weights spread evenly around 0, with a standard deviation of `gain / 16 / sqrt(inputs)`: a row of
 * such weights keeps the size of what it is multiplied with, times gain / 16.
 */
export function fillRandom(bytes: Uint8Array, options: { seed: number; name: string; gain: number; inputs: number }): void {
  const next = seeded((options.seed ^ hashOf(options.name)) >>> 0);
  const levels = levelsOf(options.gain, options.inputs);
  for (let at = 0; at < bytes.length; at += 2) {
    const half = levels[next() >>> 20]!;
    bytes[at] = half & 0xff;
    bytes[at + 1] = half >>> 8;
  }
}

/** The 4096 values that a weight of a tensor can have, as float16. */
function levelsOf(gain: number, inputs: number): Uint16Array {
  // Evenly spread up to `limit`, the standard deviation is limit / sqrt(3). In units of 2^-20.
  const limit = integerRoot(Math.floor((3 * gain * gain * 2 ** 32) / inputs));
  return Uint16Array.from({ length: 4096 }, (_, level) => halfOf((2 * level - 4095) * limit));
}

function integerRoot(square: number): number {
  let root = Math.floor(Math.sqrt(square));
  while (root * root > square) root--;
  while ((root + 1) * (root + 1) <= square) root++;
  return root;
}

/** `units` times 2^-32 as the bits of a float16, rounded to the nearest, halves to even. */
export function halfOf(units: number): number {
  const size = Math.abs(units);
  // The place of the last bit that is kept: 11 significant ones, and none below 2^-24.
  let place = 8;
  while (size >= 2 ** (place + 11)) place++;
  const kept = Math.floor(size / 2 ** place);
  const rest = size - kept * 2 ** place;
  const half = 2 ** (place - 1);
  const rounded = kept + (rest > half || (rest === half && kept % 2 === 1) ? 1 : 0);
  const bits = (place - 8) * 1024 + rounded;
  return units < 0 ? bits | 0x8000 : bits;
}
