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

/** What waits at admission: it is on no instance, and in no report. */
export interface QueuedDemand {
  readonly requests: number;
  /** That they want at once, counted as engines count their own queue. */
  readonly blocks: number;
}

export interface PoolView {
  readonly pool: string;
  readonly nowMs: number;
  readonly bounds: PoolBounds;
  /** Every instance of the pool that is in the fleet view. */
  readonly instances: readonly KnownInstance[];
  /** Undefined: not heard of lately. It counts as nothing for growing, and nothing is removed meanwhile. */
  readonly queued: QueuedDemand | undefined;
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

/**
 * All demand on the pool: of the serving instances and of the queue at admission, with each pending instance as an empty
 * one like the others.
 */
export function loadWithPending(view: PoolView): PooledLoad {
  const load = poolLoad(serving(view).map((instance) => instance.status));
  const extra = pending(view).length * typical(view, (status) => status.totalBlocks);
  return {
    ...load,
    freeBlocks: load.freeBlocks + extra,
    totalBlocks: load.totalBlocks + extra,
    waitingBlocks: load.waitingBlocks + (view.queued?.blocks ?? 0),
    sequences: load.sequences + (view.queued?.requests ?? 0),
  };
}

/** Sequences that can run at the same time, pending instances counted. */
export function slotsWithPending(view: PoolView): number {
  const now = serving(view).reduce((sum, instance) => sum + instance.status.maxRunning, 0);
  return now + pending(view).length * typical(view, (status) => status.maxRunning);
}

/** The mean over the instances that are known; 0 when there are none. */
function typical(view: PoolView, pick: (status: InstanceStatus) => number): number {
  const known = view.instances.map((instance) => pick(instance.status));
  return known.length === 0 ? 0 : Math.round(known.reduce((sum, value) => sum + value, 0) / known.length);
}

/** Blocks in use and wanted. */
export function demandBlocks(load: PooledLoad): number {
  return load.totalBlocks - load.freeBlocks + load.waitingBlocks;
}

/** Mean freeness with all queued demand and pending capacity counted, steps. */
export function meanFreenessSteps(view: PoolView): number {
  return pooledFreenessSteps(loadWithPending(view));
}

/** Requests on an instance. */
export function requestsOn(instance: KnownInstance): number {
  return instance.status.running + instance.status.waiting;
}

/**
 * The instances to retire, in order. Those that prefill for the others stay: how many there are is set, and the pool shrinks by
 * those that decode. Of these those that people have cordoned first, since they serve nothing anyway; then fewest
 * requests first, then the newest number. Suspect ones last, since they cannot be emptied now.
 */
export function retireOrder(view: PoolView): KnownInstance[] {
  const suspect = (instance: KnownInstance) => (instance.health === 'healthy' ? 0 : 1);
  const stay = staying(view);
  const decodes = (instance: KnownInstance) => instance.status.role !== 'prefill';
  const mayGo = stay.some(decodes) ? stay.filter(decodes) : stay;
  return mayGo.sort(
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
