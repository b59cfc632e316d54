// The record of one decision: what it was made from, what each scorer said of the best candidates, and what was chosen.
// Enough to make the decision again (replay.ts), small enough to keep for every request.
import type { DecisionCandidate, DecisionRecord } from '../../proto/gen/messages.ts';
import { filterNames, reasonFor } from './filters.ts';
import type { PoolTable } from './fleet-table.ts';
import type { Placed } from './place.ts';
import { profileJson, scorerNames } from './profile.ts';
import type { RoutingQuestion, ViewFacts } from './routing-question.ts';
import { scorers } from './scorers.ts';
import type { Side } from './side.ts';

/** Candidates kept of each side in a record; that of a larger pool holds the best of them and what it took from the others together. */
export const recordedCandidatesMax = 16;

export interface Decided {
  /** Verdicts and totals are in its scratch. */
  readonly table: PoolTable;
  readonly view: ViewFacts;
  readonly question: RoutingQuestion;
  readonly placed: Placed;
  readonly reason: DecisionRecord['reason'];
}

export function recordOf(decided: Decided): DecisionRecord {
  const { table, view, question, placed, reason } = decided;
  const { opened, handOff, rolesReason, facts } = placed;
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
    instanceId: opened ? table.ids[opened.picked.row]! : '',
    reason,
    request,
    profileJson: profileJson(profile),
    candidatesLeftOut: table.size - candidates.length,
    pool: facts,
    handOffInstanceId: handOff ? table.ids[handOff.picked.row]! : '',
    rolesReason,
  };
}

/**
 * All, or in a large pool the best of each side and the chosen ones; when nobody was kept, the first of those that were dropped.
 * By id. Of prefill instances there is one at least: they make a pool what it is.
 */
function recordedRows({ table, placed: { sides, opened, handOff } }: Decided): Int32Array {
  if (table.size <= recordedCandidatesMax) return Int32Array.from({ length: table.size }, (_, row) => row);
  const chosen = [opened, handOff].flatMap((side) => (side ? [side.picked.row] : []));
  const best = chosen.length > 0 ? sides.flatMap(({ ranked }) => ranked) : Array.from({ length: recordedCandidatesMax }, (_, row) => row);
  const prefill = table.hasPrefill ? [table.role.indexOf(1)] : [];
  return Int32Array.from(new Set([...best, ...chosen, ...prefill])).sort();
}

function candidatesOf({ table, placed: { sides } }: Decided, rows: Int32Array): DecisionCandidate[] {
  const found = new Map(
    sides.flatMap((side, index) =>
      candidatesOn(
        table,
        side,
        rows.filter((row) => sideOf(table, row, sides) === index),
      ),
    ),
  );
  return Array.from(rows, (row) => found.get(row)!);
}

/** Of two sides the second has the prefill instances; the first speaks for them where it is alone. */
function sideOf({ role }: PoolTable, row: number, sides: readonly Side[]): number {
  return sides.length > 1 && role[row] === 1 ? 1 : 0;
}

function candidatesOn(table: PoolTable, { filtering, scoring }: Side, rows: Int32Array): [number, DecisionCandidate][] {
  const { verdicts, values, totals } = table.scratch;
  const { weights } = scoring.profile;
  const terms = scorerNames
    .filter((name) => weights[name] > 0)
    .map((scorer) => {
      scorers[scorer](scoring, table, rows, values);
      return Array.from(rows, (row) => ({ scorer, value: values[row]!, weight: weights[scorer] }));
    });
  return Array.from(rows, (row, index): [number, DecisionCandidate] => {
    const verdict = verdicts[row]!;
    const dropped = verdict > 0;
    const candidate = {
      instanceId: table.ids[row]!,
      droppedBy: dropped ? filterNames[verdict - 1]! : '',
      droppedReason: dropped ? reasonFor(verdict, filtering, table, row) : '',
      terms: dropped ? [] : terms.map((each) => each[index]!),
      total: dropped ? 0 : totals[row]!,
      input: table.inputOf(row, scoring.hints),
    };
    return [row, candidate];
  });
}
