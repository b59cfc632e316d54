// What scaling decides from: one pool at one moment, with what has been ordered and is not there yet.
import type { InstanceStatus } from '../../proto/gen/messages.ts';
import type { KnownInstance } from '../tracking/fleet-view.ts';
import { type PooledLoad, pooledFreenessSteps, poolLoad } from '../tracking/freeness.ts';
import { takesRequests } from '../tracking/serving.ts';

export interface PoolBounds {
  readonly min: number;
  readonly max: number;
  /** Fewer instances than this need people's approval. */
  readonly floor: number;
}

export interface PoolView {
  readonly pool: string;
  readonly nowMs: number;
  readonly bounds: PoolBounds;
  /** Every instance of the pool that is in the fleet view. */
  readonly instances: readonly KnownInstance[];
  /** Age of the fleet view, ms; Infinity without one. */
  readonly viewAgeMs: number;
  /** Ordered and not yet healthy. */
  readonly pendingInstanceIds: readonly string[];
  /** A plan runs or waits for people. */
  readonly planRunning: boolean;
  /** When the pool last grew and shrank, ms; 0: never. */
  readonly grewAtMs: number;
  readonly shrankAtMs: number;
  /** Migrations in the pool that ended lately. */
  readonly recentMigrations: number;
}

/** Instances that run and stay: not dead, not on their way out. */
export function staying(view: PoolView): KnownInstance[] {
  return view.instances.filter((instance) => instance.health !== 'dead' && !(instance.cordoned && instance.cordonReason === 'scale_in'));
}

/** Instances that take requests. */
export function serving(view: PoolView): KnownInstance[] {
  return staying(view).filter(takesRequests);
}

/** Ordered, and not among those that run. */
export function pending(view: PoolView): string[] {
  const running = new Set(staying(view).map((instance) => instance.status.instanceId));
  return view.pendingInstanceIds.filter((id) => !running.has(id));
}

/** Size of the pool as scaling counts it: what stays and what was ordered. Pending capacity is supply. */
export function supply(view: PoolView): number {
  return staying(view).length + pending(view).length;
}

/** Load of the serving instances, with each pending one as an empty instance like the others. */
export function loadWithPending(view: PoolView): PooledLoad {
  const statuses = serving(view).map((instance) => instance.status);
  const load = poolLoad(statuses);
  const extra = pending(view).length * typicalBlocks(view);
  return { ...load, freeBlocks: load.freeBlocks + extra, totalBlocks: load.totalBlocks + extra };
}

function typicalBlocks(view: PoolView): number {
  const known: readonly InstanceStatus[] = view.instances.map((instance) => instance.status);
  return known.length === 0 ? 0 : Math.round(poolLoad(known).totalBlocks / known.length);
}

/** Blocks in use and wanted by the serving instances. */
export function demandBlocks(load: PooledLoad): number {
  return load.totalBlocks - load.freeBlocks + load.waitingBlocks;
}

/** Mean freeness with pending capacity counted, steps. */
export function meanFreenessSteps(view: PoolView): number {
  return pooledFreenessSteps(loadWithPending(view));
}

/** Requests on an instance. */
export function requestsOn(instance: KnownInstance): number {
  return instance.status.running + instance.status.waiting;
}

/**
 * The instances to retire, in order: those that people have cordoned, since they serve nothing anyway; then fewest
 * requests first, then the newest number. Suspect ones last, since they cannot be emptied now.
 */
export function retireOrder(view: PoolView): KnownInstance[] {
  const suspect = (instance: KnownInstance) => (instance.health === 'healthy' ? 0 : 1);
  return staying(view).sort(
    (a, b) =>
      suspect(a) - suspect(b) ||
      Number(b.cordoned) - Number(a.cordoned) ||
      requestsOn(a) - requestsOn(b) ||
      numberOf(b.status.instanceId) - numberOf(a.status.instanceId) ||
      (a.status.instanceId < b.status.instanceId ? 1 : -1),
  );
}

/** n of `<pool>-<n>`; 0 for other names. */
function numberOf(instanceId: string): number {
  return Number(/-(\d+)$/.exec(instanceId)?.[1] ?? 0);
}
