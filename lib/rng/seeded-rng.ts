// A small generator with a seed: sfc32 (Chris Doty-Humphrey, PractRand), 128 bits of state, period at least 2^32.
import type { Rng } from '../ports/rng.ts';
import { idFrom } from './ids.ts';

/** Gives the same sequence for the same 32-bit `seed` on every machine. */
export function seededRng(seed: number): Rng {
  let a = 0x9e3779b9;
  let b = 0x243f6a88;
  let c = seed >>> 0;
  let counter = 1;

  function word(): number {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  // The first outputs of neighbouring seeds resemble each other.
  for (let n = 0; n < 15; n++) word();

  const next = () => word() / 4_294_967_296;
  return { next, seed: word, id: (prefix) => idFrom(prefix, next) };
}
