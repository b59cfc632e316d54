// Choices of a fuzzer, all made from one seed.
import { seededRng } from '../../lib/rng/seeded-rng.ts';

export interface Chooser {
  /** A whole number in [0, below). */
  int(below: number): number;
  chance(probability: number): boolean;
  pick<T>(from: readonly T[]): T;
  bytes(length: number): Uint8Array;
  /** A length: mostly short, now and then long. */
  length(most: number): number;
}

export function createChooser(seed: number): Chooser {
  const rng = seededRng(seed);
  const int = (below: number) => Math.floor(rng.next() * below);
  return {
    int,
    chance: (probability) => rng.next() < probability,
    pick: (from) => from[int(from.length)]!,
    bytes: (length) => Uint8Array.from({ length }, () => int(256)),
    length: (most) => Math.floor(most ** rng.next()),
  };
}

/** Texts that have hurt somebody before. */
export const oddTexts: readonly string[] = [
  '',
  ' ',
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  'null',
  '-1',
  'NaN',
  '1e309',
  '*',
  '>',
  'a.b',
  '../../etc/passwd',
  '%',
  '%00',
  '%E0%A4%A',
  '\u0000',
  '\r\nx: y',
  '\ud800',
  '\u202e',
  '{{7*7}}',
  'é'.repeat(200),
  'x'.repeat(5000),
];

export const oddNumbers: readonly number[] = [
  0,
  -0,
  1,
  -1,
  0.5,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53,
  -(2 ** 53),
  1e308,
  -1e308,
  5e-324,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
];
