// The picture of the whole fleet that the tracker publishes, and how a reader keeps the newest one.
import type { FleetView, InstanceStatus, InstanceView } from '../../proto/gen/messages.ts';
import { type ProjectionLimits, projectStatus } from './dead-reckoning.ts';
import type { InstanceState } from './instance-state.ts';

export interface ViewHeader {
  readonly trackerId: string;
  /** Of the publishing tracker's lease. */
  readonly epoch: number;
  /** Grows within an epoch. */
  readonly version: number;
  readonly atMs: number;
}

/** The instance as readers see it; undefined until it has reported. */
export function viewOf(state: InstanceState): InstanceView | undefined {
  const { status, health, stale, cordoned, cordonReason, receivedAtMs } = state;
  return status && { status, health, stale, cordoned, cordonReason, receivedAtMs };
}

/** Instances that have reported at least once, sorted by id. */
export function assembleView(header: ViewHeader, states: Iterable<InstanceState>): FleetView {
  const instances = [...states].flatMap((state) => viewOf(state) ?? []);
  instances.sort((a, b) => ((a.status?.instanceId ?? '') < (b.status?.instanceId ?? '') ? -1 : 1));
  return { ...header, instances, nextAfter: '' };
}

/** Negative: `a` is older. A later epoch beats any version. */
export function compareViews(a: Pick<FleetView, 'epoch' | 'version'>, b: Pick<FleetView, 'epoch' | 'version'>): number {
  return a.epoch - b.epoch || a.version - b.version;
}

/** An instance with its status always there. */
export interface KnownInstance extends InstanceView {
  readonly status: InstanceStatus;
}

/** Every instance as it probably is now: reports moved forward by their age. Dead ones stay as they were last seen. */
export function projectView(view: FleetView, nowMs: number, limits?: ProjectionLimits): KnownInstance[] {
  return view.instances.flatMap((instance) => {
    if (!instance.status) return [];
    const ageMs = nowMs - instance.receivedAtMs;
    return [{ ...instance, status: instance.health === 'dead' ? instance.status : projectStatus(instance.status, ageMs, limits) }];
  });
}
