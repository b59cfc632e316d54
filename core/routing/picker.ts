// Pickers choose among scored rows. Ties are broken by the decision's seed and the instance's id, whoever else is tied.
import type { PoolTable } from './fleet-table.ts';
import type { RoutingProfile } from './profile.ts';
import { seededRandom, tieRank } from './seeded-random.ts';

export interface Pick {
  readonly row: number;
  readonly reason: 'best_score' | 'tie_break' | 'weighted';
}

/** Totals closer than this are equal: rounding must not decide. */
const tieWidth = 1e-9;

/** `rows` are not empty; `totals` are by row. `ranked` are the best of them, at least `topK` where there are as many. */
export function pick(
  table: PoolTable,
  rows: Int32Array,
  totals: Float64Array,
  ranked: readonly number[],
  { picker, topK }: RoutingProfile,
  seed: number,
): Pick {
  if (picker === 'weighted') return pickWeighted(ranked.slice(0, topK), totals, seed);
  const best = totals[ranked[0]!]!;
  let [tied, chosen, lowest] = [0, -1, Number.POSITIVE_INFINITY];
  for (let k = 0; k < rows.length; k++) {
    const row = rows[k]!;
    if (best - totals[row]! > tieWidth) continue;
    tied += 1;
    const rank = tieRank(seed, table.idHashes[row]!);
    if (rank < lowest) [chosen, lowest] = [row, rank];
  }
  return { row: chosen, reason: tied === 1 ? 'best_score' : 'tie_break' };
}

function pickWeighted(ranked: readonly number[], totals: Float64Array, seed: number): Pick {
  const sum = ranked.reduce((total, row) => total + totals[row]!, 0);
  let left = seededRandom(seed) * sum;
  for (const row of ranked) {
    left -= totals[row]!;
    if (left < 0) return { row, reason: 'weighted' };
  }
  return { row: ranked[0]!, reason: 'weighted' };
}

/** The `count` rows with the highest totals, highest first; among equals the lower row first. Sorts nothing but these. */
export function bestRows(rows: Int32Array, totals: Float64Array, count: number): number[] {
  const best: number[] = [];
  let bar = Number.NEGATIVE_INFINITY;
  for (let k = 0; k < rows.length; k++) {
    const row = rows[k]!;
    const total = totals[row]!;
    if (best.length === count && total <= bar) continue;
    let at = best.length === count ? count - 1 : best.length;
    for (; at > 0 && totals[best[at - 1]!]! < total; at--) best[at] = best[at - 1]!;
    best[at] = row;
    bar = totals[best.at(-1)!]!;
  }
  return best;
}
