// Scorers give each kept candidate 0 to 1, 1 being best. Only + - * / and comparisons, so that a replay on another
// machine gives the same bits. Each walks the rows by itself: one call per instance would cost more than its arithmetic.
import { blocksOf } from './candidate.ts';
import type { PoolTable, RequestHints } from './fleet-table.ts';
import { prefixBlockBytes } from './prefix-hash.ts';
import type { RoutingProfile, ScorerName } from './profile.ts';

export interface ScoreQuestion {
  readonly profile: RoutingProfile;
  /** Tokens to compute for the request. */
  readonly tokens: number;
  /** Prefix hashes of the request. */
  readonly hashes: number;
  readonly hints: RequestHints;
  /** Fewest and most sequences on any kept candidate. */
  readonly leastSequences: number;
  readonly mostSequences: number;
}

/** Writes the value of each of `rows` to `values`, by row; what it leaves in other rows means nothing. */
export type Scorer = (question: ScoreQuestion, table: PoolTable, rows: Int32Array, values: Float64Array) => void;

export const scorers: Readonly<Record<ScorerName, Scorer>> = { queue, prefill, kvHeadroom, prefix, session };

/** 1 on the least loaded, 0 on the most loaded; small differences in a balanced pool stay small. */
function queue({ profile, leastSequences, mostSequences }: ScoreQuestion, { sequences }: PoolTable, rows: Int32Array, values: Float64Array): void {
  const range = Math.max(mostSequences - leastSequences, profile.loadSpan, 1);
  for (let k = 0; k < rows.length; k++) {
    const row = rows[k]!;
    values[row] = 1 - (sequences[row]! - leastSequences) / range;
  }
}

/** 1 where no prompt is waiting to be computed, half / (half + tokens) else: what the first token will have to wait for. */
function prefill({ profile }: ScoreQuestion, { promptBacklog }: PoolTable, rows: Int32Array, values: Float64Array): void {
  const half = profile.prefillHalfTokens;
  for (let k = 0; k < rows.length; k++) values[rows[k]!] = half / (half + promptBacklog[rows[k]!]!);
}

/** Freeness in steps with this request there and all queued demand counted: s / (s + half). */
function kvHeadroom({ tokens, profile }: ScoreQuestion, table: PoolTable, rows: Int32Array, values: Float64Array): void {
  const { sequences, freeAfterDemand, numbers } = table;
  const half = profile.headroomHalfSteps;
  for (let k = 0; k < rows.length; k++) {
    const row = rows[k]!;
    const blockTokens = numbers.blockTokens[row]!;
    const free = freeAfterDemand[row]! - blocksOf(tokens, blockTokens);
    const steps = (free * blockTokens) / (sequences[row]! + 1);
    values[row] = steps <= 0 ? 0 : steps / (steps + half);
  }
}

/** Share of the prompt that is probably cached, less for short hits, and faded by load. */
function prefix(question: ScoreQuestion, table: PoolTable, _rows: Int32Array, values: Float64Array): void {
  const { hashes, hints, profile } = question;
  values.fill(0);
  for (const [row, blocks] of hints.prefixBlocks) {
    const tokens = (blocks * prefixBlockBytes) / 4;
    values[row] = (blocks / Math.max(1, hashes)) * (tokens / (tokens + profile.affinityHalfTokens)) * fade(question, table, row);
  }
}

/** 1 where the session was last, faded by load. */
function session(question: ScoreQuestion, table: PoolTable, _rows: Int32Array, values: Float64Array): void {
  values.fill(0);
  const { sessionRow } = question.hints;
  if (sessionRow >= 0) values[sessionRow] = fade(question, table, sessionRow);
}

/** 1 on the least loaded instance, 0 from `loadSpan` sequences above it: affinity never builds a hot spot taller than that. */
function fade({ profile, leastSequences }: ScoreQuestion, { sequences }: PoolTable, row: number): number {
  return Math.max(0, 1 - (sequences[row]! - leastSequences) / Math.max(1, profile.loadSpan));
}
