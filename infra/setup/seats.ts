// Agents with users of their own, before they are there: scaling gives an instance the lowest number that is free, and those
// of instances that have died are not free for a while.
import type { FleetConfig, PoolConfig } from '../../lib/config/fleet.ts';
import { roleOf } from '../../lib/config/instance-role.ts';
import { serversOf } from '../../lib/engines/openai/servers.ts';
import type { AgentSeat, SeatInstance } from '../../lib/roles/agent-seat.ts';

/** More than a launcher starts (launcher.ts) in one pool need not be known beforehand. */
const mostBeforehand = 64;

/** Those of the first start. */
export function firstInstances({ pools }: FleetConfig): SeatInstance[] {
  return pools.flatMap((pool) => instanceIds(pool).map((id) => seatInstance(pool, id)));
}

/** Names of a pool's instances at the first start: those of its servers, where it has any that run already, else its own and a number. */
export function instanceIds(pool: Pick<PoolConfig, 'id' | 'instances' | 'openai'>): string[] {
  if (pool.openai)
    return serversOf(pool)
      .slice(0, pool.instances)
      .map(({ id }) => id);
  return numbered(pool.id, 0, pool.instances);
}

/** Those that scaling may add. */
export function laterInstances({ pools }: FleetConfig): SeatInstance[] {
  return pools.flatMap((pool) => {
    const { id, instances, max } = pool;
    return numbered(id, instances, Math.min(max + instances, instances + mostBeforehand)).map((each) => seatInstance(pool, each));
  });
}

/** An agent that speaks for its instance alone, and starts nothing. */
export function loneSeat({ pools }: FleetConfig, { pool, id }: SeatInstance): AgentSeat {
  const known = pools.find((each) => each.id === pool);
  return { instances: [known ? seatInstance(known, id) : { pool, id }], launches: undefined };
}

function seatInstance(pool: PoolConfig, id: string): SeatInstance {
  return { pool: pool.id, id, ...(roleOf(pool, id) === 'prefill' && { prefills: true }) };
}

/**
 * Of every agent that `npm start` may have to start, and of those that run already. NATS knows them from its start: reading its
 * configuration again cuts nobody off, but takes from everybody the right to answer what was asked before.
 */
export function seatsOf(fleet: FleetConfig, running: readonly SeatInstance[]): AgentSeat[] {
  const all = new Map([...firstInstances(fleet), ...laterInstances(fleet), ...running].map((instance) => [instance.id, instance]));
  return [...all.values()].map((instance) => loneSeat(fleet, instance));
}

function numbered(pool: string, from: number, to: number): string[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, index) => `${pool}-${from + index + 1}`);
}
