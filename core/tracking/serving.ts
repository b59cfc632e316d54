// Which instances of a pool take requests, and whether one is the last of them: asked before anything is drained or stopped.
import type { FleetView, InstanceView } from '../../proto/gen/messages.ts';

/**
 * Takes new requests now: healthy, not cordoned, accepting. A suspect instance does not count: it may be dead, and then
 * nobody would be left.
 */
export function takesRequests({ status, health, cordoned }: Pick<InstanceView, 'status' | 'health' | 'cordoned'>): boolean {
  return health === 'healthy' && !cordoned && status?.accepting === true;
}

/** Without the instances in `leaving` nobody in `pool` takes requests. */
export function leavesNobody(instances: FleetView['instances'], pool: string, leaving: Iterable<string>): boolean {
  const gone = new Set(leaving);
  return !instances.some((instance) => instance.status?.pool === pool && !gone.has(instance.status.instanceId) && takesRequests(instance));
}
