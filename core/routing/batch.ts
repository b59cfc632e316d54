// Places the whole dispatchable batch: every placement is booked before the next decision is made, so a batch spreads
// by itself.
import type { DecisionRecord, Refusal, RequestInfo } from '../../proto/gen/messages.ts';
import { type DecisionNotes, decide, type Place } from './decide.ts';
import type { RoutingProfile } from './profile.ts';
import type { Placement, RoutingMemory } from './routing-memory.ts';
import type { ViewFacts } from './routing-question.ts';

export interface BatchQuestion {
  readonly requests: readonly RequestInfo[];
  readonly profile: RoutingProfile;
  readonly nowMs: number;
  /** One per request. */
  readonly seeds: readonly number[];
  readonly routerId: string;
}

export interface BatchDecision {
  readonly request: RequestInfo;
  readonly chosen: (Place & { readonly handOff: Place | undefined }) | undefined;
  readonly refusal: Refusal | null;
  /** Undefined when the request was asked again and keeps its place. */
  readonly record: DecisionRecord | undefined;
  /** Undefined when nothing new was booked. */
  readonly placement: Placement | undefined;
}

/**
 * Decides for one request after another, in order, and books each in `memory` at once. A request that holds a booking
 * for the epoch asked about keeps its place: the answer was lost, not the instance.
 */
export function decideBatch(memory: RoutingMemory, batch: BatchQuestion, notesOf?: (request: RequestInfo) => DecisionNotes): BatchDecision[] {
  const { profile, nowMs, routerId } = batch;
  const view = memory.fleet.header;
  const facts: ViewFacts = { version: view?.version ?? 0, epoch: view?.epoch ?? 0, ageMs: view ? Math.max(0, nowMs - view.atMs) : 0 };
  return batch.requests.map((request, index): BatchDecision => {
    const held = heldPlace(memory, request);
    if (held) return { request, chosen: held, refusal: null, record: undefined, placement: undefined };
    const question = { request, profile, nowMs, seed: batch.seeds[index]!, routerId };
    const table = memory.fleet.pool(request.pool);
    const { chosen, refusal, record } = decide(table, memory.hintsOf(request, table), facts, question, notesOf?.(request));
    const placement = chosen && {
      requestId: request.requestId,
      epoch: request.epoch + 1,
      instanceId: chosen.instanceId,
      handOffInstanceId: chosen.handOff?.instanceId ?? '',
      blocks: chosen.blocks,
      computeTokens: chosen.computeTokens,
      atMs: nowMs,
      prefixHashes: request.prefixHashes,
      sessionId: request.sessionId,
    };
    if (placement) memory.place(placement);
    return { request, chosen, refusal, record, placement };
  });
}

function heldPlace({ fleet }: RoutingMemory, request: RequestInfo): BatchDecision['chosen'] {
  const booking = fleet.account.booking(request.requestId);
  if (booking?.epoch !== request.epoch + 1 || request.avoidInstances.includes(booking.instanceId)) return undefined;
  const place = fleet.placeOf(booking.instanceId);
  if (!place?.table.isUsable(place.row) || place.table.health[place.row] !== 0) return undefined;
  const handsTo = fleet.placeOf(booking.handOffInstanceId);
  return {
    ...{ instanceId: booking.instanceId, address: place.table.addresses[place.row]! },
    handOff: handsTo && { instanceId: booking.handOffInstanceId, address: handsTo.table.addresses[handsTo.row]! },
  };
}
