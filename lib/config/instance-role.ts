// What an instance of a pool computes, by its name: the agent beside it, scaling and set-up must not differ about it.
import type { InstanceStatus } from '../../proto/gen/messages.ts';
import { serversOf } from '../engines/openai/servers.ts';
import type { PoolConfig } from './fleet.ts';

type RolesOf = Pick<PoolConfig, 'id' | 'role' | 'prefillInstances' | 'openai'>;

/**
 * With `prefillInstances: n` the instances `<pool>-1` to `<pool>-n` prefill (of servers that run already: the first n), and all
 * others decode, also those that scaling adds. Servers may state it themselves. Else as the pool says.
 */
export function roleOf(pool: RolesOf, instanceId: string): InstanceStatus['role'] {
  if (!isShared(pool)) return pool.role;
  return prefillIds(pool).includes(instanceId) ? 'prefill' : 'decode';
}

/** Instances that scaling keeps: those that prefill, and one that decodes. 0 in other pools. */
export function leastInstances({ prefillInstances }: Pick<PoolConfig, 'prefillInstances'>): number {
  return prefillInstances > 0 ? prefillInstances + 1 : 0;
}

/** Some of its instances prefill for the others. */
export function isShared({ prefillInstances, openai }: RolesOf): boolean {
  return prefillInstances > 0 || (openai?.servers.some(({ role }) => role !== undefined) ?? false);
}

function prefillIds(pool: RolesOf): string[] {
  const { id, prefillInstances, openai } = pool;
  if (!openai) return Array.from({ length: prefillInstances }, (_, index) => `${id}-${index + 1}`);
  return serversOf(pool)
    .filter(({ role }, index) => role === 'prefill' || index < prefillInstances)
    .map((server) => server.id);
}
