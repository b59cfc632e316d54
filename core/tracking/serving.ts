// Which instances of a pool take requests, and whether one is the last of them: asked before anything is drained or stopped.
import type { FleetView, InstanceView } from '../../proto/gen/messages.ts';

/**
 * Takes new requests now: healthy, not cordoned, accepting. A suspect instance does not count: it may be dead, and then
 * nobody would be left.
 */
export function takesRequests({ status, health, cordoned }: Pick<InstanceView, 'status' | 'health' | 'cordoned'>): boolean {
  return health === 'healthy' && !cordoned && status?.accepting === true;
}

const namedAtMost = 3;

/** Why no instance takes requests, for people. `unreachable`: ids of those that this process cannot reach. */
export function whyNobody(instances: Iterable<InstanceView>, unreachable: ReadonlySet<string>): string {
  const why = [...instances]
    .flatMap((instance) => (instance.status ? [`${instance.status.instanceId} ${whyNot(instance, unreachable)}`] : []))
    .sort();
  if (why.length === 0) return 'no instance has reported';
  const more = why.length > namedAtMost ? [`and ${why.length - namedAtMost} more`] : [];
  return `no instance takes requests: ${[...why.slice(0, namedAtMost), ...more].join(', ')}`;
}

function whyNot({ status, health, cordoned }: InstanceView, unreachable: ReadonlySet<string>): string {
  if (health === 'dead') return 'is dead';
  if (status && unreachable.has(status.instanceId)) return 'cannot be reached';
  if (health === 'suspect') return 'does not report';
  if (status?.setAside) return `is set aside (${status.setAside})`;
  return cordoned ? 'is cordoned' : 'accepts nothing';
}

/** Without the instances in `leaving` nobody in `pool` takes requests. */
export function leavesNobody(instances: FleetView['instances'], pool: string, leaving: Iterable<string>): boolean {
  const gone = new Set(leaving);
  return !instances.some((instance) => instance.status?.pool === pool && !gone.has(instance.status.instanceId) && takesRequests(instance));
}
