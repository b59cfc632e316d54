// How many more requests a pool takes: places on usable instances, less what is there and what is on its way.
import type { PoolTable } from '../routing/fleet-table.ts';

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

/**
 * Prefill instances pass requests on: they count only when nobody else is there.
 * Suspect instances count only when no healthy one is there, as in the router. `allowedWaiting` is per instance.
 */
export function poolCapacity(table: PoolTable, allowedWaiting: number): PoolCapacity {
  const { maxRunning, maxWaiting } = table.numbers;
  const prefillCounts = table.usableForDecode === 0;
  const suspectsCount = table.usableHealthy === 0;
  let [instances, places, used, room] = [0, 0, 0, 0];
  for (let row = 0; row < table.size; row++) {
    if (table.role[row] === 1 && !prefillCounts) continue;
    if (!table.isUsable(row) || (table.health[row] !== 0 && !suspectsCount)) continue;
    const here = maxRunning[row]! + Math.min(maxWaiting[row]!, allowedWaiting);
    const sequences = table.sequences[row]!;
    const full = sequences > 0 && table.freeAfterDemand[row]! <= 0;
    instances += 1;
    places += here;
    used += sequences;
    if (!full) room += Math.max(0, here - sequences);
  }
  return { instances, places, used, room, saturation: places > 0 ? used / places : 1 };
}
