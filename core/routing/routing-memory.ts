// What a router knows: the fleet with what is in flight, which prefixes and sessions are probably where. Every part is
// bounded and may lag: wrong knowledge costs balance, never safety.
import type { CachedPrefixes, FleetView, RequestInfo } from '../../proto/gen/messages.ts';
import { changeOfView, type FleetChange } from '../tracking/fleet-replica.ts';
import type { AccountLimits, InFlightBooking } from './account.ts';
import { FleetLoad } from './fleet-load.ts';
import type { PoolTable, RequestHints } from './fleet-table.ts';
import { PrefixIndex, type PrefixIndexLimits } from './prefix-index.ts';
import { SessionIndex } from './session-index.ts';

export interface Placement extends InFlightBooking {
  readonly prefixHashes: readonly number[];
  readonly sessionId: string;
}

/** Hashes of one report; of a longer one the last are taken. */
const reportedHashesMax = 4_096;

export class RoutingMemory {
  readonly fleet: FleetLoad;
  readonly prefixes: PrefixIndex;
  readonly sessions: SessionIndex;
  readonly #incarnations = new Map<string, number>();
  /** Newest report of each instance that says what it has cached. */
  readonly #reported = new Map<string, { readonly incarnation: number; readonly sequenceNumber: number }>();

  constructor(limits: { account?: AccountLimits; prefixes?: PrefixIndexLimits; sessions?: number } = {}) {
    this.prefixes = new PrefixIndex(limits.prefixes);
    this.fleet = new FleetLoad(limits.account, ({ handOffInstanceId, prefixHashes = [] }) => this.prefixes.add(handOffInstanceId, prefixHashes));
    this.sessions = new SessionIndex(limits.sessions);
  }

  /** What the indexes know of the request, by row of its pool's table. */
  hintsOf(request: RequestInfo, table: PoolTable): RequestHints {
    const prefixBlocks = new Map<number, number>();
    for (const [instanceId, blocks] of this.prefixes.match(request.prefixHashes)) {
      const row = table.rowOf(instanceId);
      if (row !== undefined) prefixBlocks.set(row, blocks);
    }
    return { prefixBlocks, sessionRow: table.rowOf(this.sessions.get(request.sessionId) ?? '') ?? -1 };
  }

  /** Own placements and those of other routers alike. Repeats change nothing. */
  place(placement: Placement): void {
    this.fleet.account.book(placement);
    const { instanceId, handOffInstanceId, prefixHashes, sessionId } = placement;
    this.prefixes.add(instanceId, prefixHashes);
    // The session is continued where the KV goes. That has the prefix too once the request is there: until then prompts that
    // begin alike would be computed there again.
    this.sessions.set(sessionId, handOffInstanceId || instanceId);
  }

  /** What an engine says it has cached. Late and repeated reports, and those of instances that are not in the view, change nothing. */
  takeCached(report: Pick<CachedPrefixes, 'instanceId' | 'incarnation' | 'sequenceNumber' | 'hashes'>): void {
    const { instanceId, incarnation, sequenceNumber, hashes } = report;
    if (this.#incarnations.get(instanceId) !== incarnation) return;
    const known = this.#reported.get(instanceId);
    if (known?.incarnation === incarnation && known.sequenceNumber >= sequenceNumber) return;
    this.#reported.set(instanceId, { incarnation, sequenceNumber });
    this.prefixes.replace(instanceId, hashes.slice(-reportedHashesMax));
  }

  /** Takes in a whole view. */
  takeView(view: FleetView, nowMs: number): void {
    this.takeChange(changeOfView(view), nowMs);
  }

  /** Takes in what a newer view changes. Changes must come in order. */
  takeChange(change: FleetChange, nowMs: number): void {
    this.fleet.takeChange(change, nowMs);
    if (change.whole) {
      const present = new Set(change.changed.map(({ status }) => status?.instanceId ?? ''));
      this.prefixes.retain(present);
      for (const instanceId of this.#incarnations.keys()) if (!present.has(instanceId)) this.#forget(instanceId);
    }
    for (const instanceId of change.removed) {
      this.prefixes.forget(instanceId);
      this.#forget(instanceId);
    }
    for (const { status } of change.changed) {
      if (!status) continue;
      const before = this.#incarnations.get(status.instanceId);
      if (before !== undefined && before !== status.incarnation) this.prefixes.forget(status.instanceId);
      this.#incarnations.set(status.instanceId, status.incarnation);
    }
  }

  #forget(instanceId: string): void {
    this.#incarnations.delete(instanceId);
    this.#reported.delete(instanceId);
  }
}
