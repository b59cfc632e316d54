// Chance without a state: the seed of a position is made of the request's seed and the position, so that a request goes on
// elsewhere with the same draws. A generator that is carried along would have to be moved with the sequence.
import { createHash } from 'node:crypto';

/** Seed of a request that names none: the same on every instance. */
export function seedOfRequest(requestId: string): number {
  return createHash('sha256').update(requestId).digest().readUInt32LE(0);
}

/** Seed of the token at `position` of the sequence, prompt included. 32 bits, well mixed (finaliser of MurmurHash3, public domain). */
export function seedAt(seed: number, position: number): number {
  let h = (seed ^ Math.imul(position + 1, 0x9e3779b1)) >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
