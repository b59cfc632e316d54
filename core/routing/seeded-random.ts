// A decision's own random numbers: the seed is in the decision record.

/** Uniform in [0, 1), the same for the same seed on every machine (mulberry32's finaliser). */
export function seededRandom(seed: number): number {
  return mixed(seed) / 4_294_967_296;
}

/** Rank among equals, unsigned 32 bits: independent of who the others are, and as good as drawn for each seed. */
export function tieRank(seed: number, idHash: number): number {
  return mixed((seed ^ idHash) >>> 0);
}

/** FNV-1a of the UTF-16 units, unsigned 32 bits. */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}

function mixed(seed: number): number {
  const state = (seed + 0x6d2b79f5) >>> 0;
  let value = Math.imul(state ^ (state >>> 15), state | 1);
  value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
  return (value ^ (value >>> 14)) >>> 0;
}
