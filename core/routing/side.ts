// One side of a decision: the rows of one role, filtered, scored, and picked among. Most pools have one side.
import type { PoolFacts } from '../../proto/gen/messages.ts';
import type { DecisionNotes } from './decide.ts';
import { recordedCandidatesMax } from './decision-record.ts';
import { type FilterQuestion, filterNames, verdictOn } from './filters.ts';
import type { PoolTable, RequestHints } from './fleet-table.ts';
import { bestRows, type Pick, pick } from './picker.ts';
import { scorerNames } from './profile.ts';
import type { RoutingQuestion } from './routing-question.ts';
import { type ScoreQuestion, scorers } from './scorers.ts';

export interface Placing {
  readonly table: PoolTable;
  readonly hints: RequestHints;
  readonly question: RoutingQuestion;
  readonly notes: DecisionNotes | undefined;
  /** Facts of the whole pool, when the table is a part of it. */
  readonly recorded: PoolFacts | undefined;
}

export interface Side {
  readonly filtering: FilterQuestion;
  /** Rows that no filter drops, ascending. */
  readonly kept: Int32Array;
  readonly scoring: ScoreQuestion;
  /** Best rows, best first. */
  readonly ranked: readonly number[];
  /** Undefined: nobody can take the request. */
  readonly picked: Pick | undefined;
}

/** Verdicts and totals of its rows stay in the table's scratch, whose `kept` is in use up to `from`. */
export function takeSide({ table, hints, question, notes, recorded }: Placing, filtering: FilterQuestion, from: number): Side {
  const { request, profile, seed } = question;
  const { kept, least, most, verdicts } = filtered(table, filtering, from);
  notes?.filtered({ candidates: table.size, kept: kept.length, dropped: summary(verdicts) });
  const prefill = filtering.side === 'prefill';
  const scoring: ScoreQuestion = {
    ...{ profile, hints, tokens: filtering.tokens, hashes: request.prefixHashes.length },
    leastSequences: recorded ? (prefill ? recorded.leastPrefillSequences : recorded.leastSequences) : least,
    mostSequences: recorded ? (prefill ? recorded.mostPrefillSequences : recorded.mostSequences) : most,
  };
  const ranked = bestRows(kept, scored(table, kept, scoring), Math.max(recordedCandidatesMax, profile.topK));
  const picked = ranked.length === 0 ? undefined : pick(table, kept, table.scratch.totals, ranked, profile, seed);
  if (picked) notes?.picked(pickNote(table, ranked, picked));
  return { filtering, kept, scoring, ranked, picked };
}

function filtered(table: PoolTable, question: FilterQuestion, from: number) {
  const { verdicts, kept } = table.scratch;
  const { sequences, role, size } = table;
  const counts = new Array<number>(filterNames.length + 1).fill(0);
  let [count, least, most] = [from, Number.POSITIVE_INFINITY, 0];
  for (let row = 0; row < size; row++) {
    // What was said of the other rows stays.
    if (question.side === 'prefill' && role[row] !== 1) continue;
    const verdict = verdictOn(question, table, row);
    verdicts[row] = verdict;
    counts[verdict]! += 1;
    if (verdict !== 0) continue;
    kept[count++] = row;
    if (sequences[row]! < least) least = sequences[row]!;
    if (sequences[row]! > most) most = sequences[row]!;
  }
  return { kept: kept.subarray(from, count), least: count > from ? least : 0, most, verdicts: counts };
}

/** Weighted mean of the scorers, by row, in the table's scratch. */
function scored(table: PoolTable, rows: Int32Array, question: ScoreQuestion): Float64Array {
  const { values, totals } = table.scratch;
  const { weights } = question.profile;
  let weightSum = 0;
  for (let k = 0; k < rows.length; k++) totals[rows[k]!] = 0;
  for (const name of scorerNames) {
    const weight = weights[name];
    if (weight === 0) continue;
    weightSum += weight;
    scorers[name](question, table, rows, values);
    for (let k = 0; k < rows.length; k++) totals[rows[k]!]! += values[rows[k]!]! * weight;
  }
  if (weightSum > 0) for (let k = 0; k < rows.length; k++) totals[rows[k]!]! /= weightSum;
  return totals;
}

/** For people: which filter dropped how many. */
function summary(verdicts: readonly number[]): string {
  return filterNames.flatMap((filter, index) => (verdicts[index + 1]! > 0 ? [`${filter}=${verdicts[index + 1]}`] : [])).join(' ');
}

function pickNote({ ids, scratch: { totals } }: PoolTable, ranked: readonly number[], { row, reason }: Pick) {
  const top = ranked.slice(0, 5).map((each) => `${ids[each]}=${totals[each]!.toFixed(4)}`);
  return { instanceId: ids[row]!, reason, score: totals[row]!, top: top.join(' ') };
}
