// Makes a recorded decision again from nothing but its record.
import type { DecisionRecord } from '../../proto/gen/messages.ts';
import { decideAmong } from './decide.ts';
import type { RoutingProfile } from './profile.ts';

/**
 * The record that the same inputs give now: equal to the original byte for byte once encoded, or the decision code has
 * changed. Undefined when the record left candidates out or is incomplete.
 */
export function replayDecision(record: DecisionRecord): DecisionRecord | undefined {
  const { request } = record;
  if (!request || record.candidatesLeftOut > 0 || record.candidates.some((candidate) => !candidate.input)) return undefined;
  const candidates = record.candidates.map(({ instanceId, input }) => ({ instanceId, address: '', input: input! }));
  const view = { version: record.viewVersion, epoch: record.viewEpoch, ageMs: record.viewAgeMs };
  const profile = JSON.parse(record.profileJson) as RoutingProfile;
  const { record: again } = decideAmong(candidates, view, { request, profile, nowMs: record.atMs, seed: record.seed, routerId: record.routerId });
  return again;
}
