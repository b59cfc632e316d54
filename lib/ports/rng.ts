// Randomness as a port: one seed gives one run.

export interface Rng {
  /** Uniform in [0, 1). */
  next(): number;
  /** A 32-bit unsigned integer, for seeding a generator of its own. */
  seed(): number;
  /** A new identifier: `prefix` and 20 characters of [0-9a-z], unique for practical purposes. */
  id(prefix: string): string;
}
