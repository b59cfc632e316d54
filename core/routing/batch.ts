// Places the whole dispatchable batch: every placement is booked before the next decision is made, so a batch spreads
// by itself.
import type { DecisionRecord, FleetView, Refusal, RequestInfo } from '../../proto/gen/messages.ts';
import { type AccountLimits, InFlightAccount } from './account.ts';
import type { RoutingKnowledge } from './candidate.ts';
import { decide, type Stage } from './decide.ts';
import { PrefixIndex, type PrefixIndexLimits } from './prefix-index.ts';
import type { RoutingProfile } from './profile.ts';
import { SessionIndex } from './session-index.ts';

export interface Placement {
  readonly requestId: string;
  readonly epoch: number;
  readonly instanceId: string;
  readonly blocks: number;
  readonly atMs: number;
  readonly prefixHashes: readonly number[];
  readonly sessionId: string;
}

/** What a router knows besides the fleet view. Every part is bounded and may lag: wrong knowledge costs balance, never safety. */
export class RoutingMemory implements RoutingKnowledge {
  readonly account: InFlightAccount;
  readonly prefixes: PrefixIndex;
  readonly sessions: SessionIndex;
  readonly #incarnations = new Map<string, number>();

  constructor(limits: { account?: AccountLimits; prefixes?: PrefixIndexLimits; sessions?: number } = {}) {
    this.account = new InFlightAccount(limits.account);
    this.prefixes = new PrefixIndex(limits.prefixes);
    this.sessions = new SessionIndex(limits.sessions);
  }

  correctionOf(instanceId: string) {
    return this.account.correctionOf(instanceId);
  }

  prefixBlocks(hashes: readonly number[]) {
    return this.prefixes.match(hashes);
  }

  sessionInstance(sessionId: string) {
    return this.sessions.get(sessionId);
  }

  /** Own placements and those of other routers alike. Repeats change nothing. */
  place(placement: Placement): void {
    this.account.book(placement);
    this.prefixes.add(placement.instanceId, placement.prefixHashes);
    this.sessions.set(placement.sessionId, placement.instanceId);
  }

  takeView(view: FleetView, nowMs: number): void {
    this.account.reconcile(view, nowMs);
    const present = new Set<string>();
    for (const { status } of view.instances) {
      if (!status) continue;
      present.add(status.instanceId);
      const before = this.#incarnations.get(status.instanceId);
      if (before !== undefined && before !== status.incarnation) this.prefixes.forget(status.instanceId);
      this.#incarnations.set(status.instanceId, status.incarnation);
    }
    this.prefixes.retain(present);
    for (const instanceId of this.#incarnations.keys()) if (!present.has(instanceId)) this.#incarnations.delete(instanceId);
  }
}

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
  readonly chosen: { readonly instanceId: string; readonly address: string } | undefined;
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
export function decideBatch(
  view: FleetView,
  memory: RoutingMemory,
  batch: BatchQuestion,
  stageOf?: (request: RequestInfo) => Stage,
): BatchDecision[] {
  const { profile, nowMs, routerId } = batch;
  return batch.requests.map((request, index): BatchDecision => {
    const held = heldPlace(view, memory, request);
    if (held) return { request, chosen: held, refusal: null, record: undefined, placement: undefined };
    const question = { request, profile, nowMs, seed: batch.seeds[index]!, routerId };
    const { chosen, refusal, record } = decide(view, memory, question, stageOf?.(request));
    const placement = chosen && {
      requestId: request.requestId,
      epoch: request.epoch + 1,
      instanceId: chosen.instanceId,
      blocks: chosen.blocks,
      atMs: nowMs,
      prefixHashes: request.prefixHashes,
      sessionId: request.sessionId,
    };
    if (placement) memory.place(placement);
    return { request, chosen, refusal, record, placement };
  });
}

function heldPlace(view: FleetView, memory: RoutingMemory, request: RequestInfo): { instanceId: string; address: string } | undefined {
  const booking = memory.account.booking(request.requestId);
  if (booking?.epoch !== request.epoch + 1 || request.avoidInstances.includes(booking.instanceId)) return undefined;
  const instance = view.instances.find(({ status }) => status?.instanceId === booking.instanceId);
  if (!instance?.status || instance.health !== 'healthy' || instance.cordoned || !instance.status.accepting) return undefined;
  return { instanceId: booking.instanceId, address: instance.status.address };
}
