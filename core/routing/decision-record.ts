// The record of one decision: what it was made from, what each scorer said of the best candidates, and what was chosen.
// Enough to make the decision again (replay.ts), small enough to keep for every request.
import type { DecisionCandidate, DecisionRecord, PoolFacts } from '../../proto/gen/messages.ts';
import { type FilterQuestion, filterNames, reasonFor } from './filters.ts';
import type { PoolTable } from './fleet-table.ts';
import { profileJson, scorerNames } from './profile.ts';
import type { RoutingQuestion, ViewFacts } from './routing-question.ts';
import { type ScoreQuestion, scorers } from './scorers.ts';

/** Candidates kept in a record; that of a larger pool holds the best of them and what it took from the others together. */
export const recordedCandidatesMax = 16;

export interface Decided {
  /** Verdicts and totals are in its scratch. */
  readonly table: PoolTable;
  readonly view: ViewFacts;
  readonly question: RoutingQuestion;
  readonly filtering: FilterQuestion;
  readonly scoring: ScoreQuestion;
  readonly facts: PoolFacts;
  /** Best rows, best first. */
  readonly ranked: readonly number[];
  readonly chosen: number | undefined;
  readonly reason: DecisionRecord['reason'];
}

export function recordOf(decided: Decided): DecisionRecord {
  const { table, view, question, facts, chosen, reason } = decided;
  const { request, profile, nowMs, seed, routerId } = question;
  const candidates = candidatesOf(decided, recordedRows(decided));
  return {
    meta: null,
    requestId: request.requestId,
    routerId,
    atMs: nowMs,
    viewVersion: view.version,
    viewEpoch: view.epoch,
    viewAgeMs: view.ageMs,
    profile: profile.name,
    seed,
    candidates,
    instanceId: chosen === undefined ? '' : table.ids[chosen]!,
    reason,
    request,
    profileJson: profileJson(profile),
    candidatesLeftOut: table.size - candidates.length,
    pool: facts,
  };
}

/** All, or in a large pool the best and the chosen one; when nobody was kept, the first of those that were dropped. By id. */
function recordedRows({ table, ranked, chosen }: Decided): Int32Array {
  if (table.size <= recordedCandidatesMax) return Int32Array.from({ length: table.size }, (_, row) => row);
  if (chosen === undefined) return Int32Array.from({ length: recordedCandidatesMax }, (_, row) => row);
  return Int32Array.from(new Set([...ranked, chosen])).sort();
}

function candidatesOf({ table, filtering, scoring }: Decided, rows: Int32Array): DecisionCandidate[] {
  const { verdicts, values, totals } = table.scratch;
  const { weights } = scoring.profile;
  const terms = scorerNames
    .filter((name) => weights[name] > 0)
    .map((scorer) => {
      scorers[scorer](scoring, table, rows, values);
      return Array.from(rows, (row) => ({ scorer, value: values[row]!, weight: weights[scorer] }));
    });
  return Array.from(rows, (row, index): DecisionCandidate => {
    const verdict = verdicts[row]!;
    const dropped = verdict > 0;
    return {
      instanceId: table.ids[row]!,
      droppedBy: dropped ? filterNames[verdict - 1]! : '',
      droppedReason: dropped ? reasonFor(verdict, filtering, table, row) : '',
      terms: dropped ? [] : terms.map((each) => each[index]!),
      total: dropped ? 0 : totals[row]!,
      input: table.inputOf(row, scoring.hints),
    };
  });
}
