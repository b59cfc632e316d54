// How many more requests a pool takes: places on usable instances, less what is there and what is on its way.
import type { FleetView, InstanceStatus } from '../../proto/gen/messages.ts';
import type { InFlightAccount } from '../routing/account.ts';
import { freeBlocksAfterDemand, sequencesOn } from '../routing/candidate.ts';

export interface PoolCapacity {
  readonly instances: number;
  /** Sequences that the usable instances take: batch and allowed waiting. */
  readonly places: number;
  /** Sequences on them, reported and booked. May exceed the places. */
  readonly used: number;
  /** Requests that can be dispatched now. Per instance, so that an overfull one does not hide room elsewhere. */
  readonly room: number;
  /** used / places; 1 when there is no place at all. */
  readonly saturation: number;
}

/** Suspect instances count only when no healthy one is there, as in the router. `allowedWaiting` is per instance. */
export function poolCapacity(view: FleetView | undefined, account: InFlightAccount, pool: string, allowedWaiting: number): PoolCapacity {
  const usable = (view?.instances ?? []).filter(
    ({ status, health, cordoned }) => status?.pool === pool && health !== 'dead' && !cordoned && status.accepting && status.role !== 'decode',
  );
  const healthy = usable.filter(({ health }) => health === 'healthy');
  let [instances, places, used, room] = [0, 0, 0, 0];
  for (const { status } of healthy.length > 0 ? healthy : usable) {
    const load = loadOf(status!, account, allowedWaiting);
    instances += 1;
    places += load.places;
    used += load.used;
    room += load.room;
  }
  return { instances, places, used, room, saturation: places > 0 ? used / places : 1 };
}

function loadOf(status: InstanceStatus, account: InFlightAccount, allowedWaiting: number): { places: number; used: number; room: number } {
  const input = { ...status, ...account.correctionOf(status.instanceId) };
  const places = status.maxRunning + Math.min(status.maxWaiting, allowedWaiting);
  const used = sequencesOn(input);
  const full = used > 0 && freeBlocksAfterDemand(input) <= 0;
  return { places, used, room: full ? 0 : Math.max(0, places - used) };
}
