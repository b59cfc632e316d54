// Makes a recorded decision again from nothing but its record.
import type { DecisionRecord } from '../../proto/gen/messages.ts';
import { decide } from './decide.ts';
import { PoolTable } from './fleet-table.ts';
import type { RoutingProfile } from './profile.ts';

/**
 * The record that the same inputs give now: equal to the original byte for byte once encoded, or the decision code has
 * changed. Of a pool larger than its record, the recorded candidates are decided among with the recorded facts of the
 * others. Undefined when the record is incomplete.
 */
export function replayDecision(record: DecisionRecord): DecisionRecord | undefined {
  const { request, pool } = record;
  if (!request || record.candidates.some((candidate) => !candidate.input)) return undefined;
  if (record.candidatesLeftOut > 0 && !pool) return undefined;
  const candidates = record.candidates.map(({ instanceId, input }) => ({ instanceId, address: '', input: input! }));
  const table = PoolTable.of(candidates);
  const hits = candidates.flatMap(({ instanceId, input }): [number, number][] =>
    input.prefixBlocks > 0 ? [[table.rowOf(instanceId)!, input.prefixBlocks]] : [],
  );
  const session = candidates.find(({ input }) => input.session);
  const hints = { prefixBlocks: new Map(hits), sessionRow: session ? table.rowOf(session.instanceId)! : -1 };
  const view = { version: record.viewVersion, epoch: record.viewEpoch, ageMs: record.viewAgeMs };
  const profile = JSON.parse(record.profileJson) as RoutingProfile;
  const question = { request, profile, nowMs: record.atMs, seed: record.seed, routerId: record.routerId };
  const facts = record.candidatesLeftOut > 0 ? pool! : undefined;
  const again = decide(table, hints, view, question, undefined, facts).record;
  return { ...again, candidatesLeftOut: record.candidatesLeftOut };
}
