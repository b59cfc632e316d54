// The fleet as an agent sees it that brings servers of its own into a pool: everything is as in the fleet file but what the
// instances of that pool are. Other processes need not know that.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { type FleetConfig, type OpenaiEngineConfig, type PoolConfig, poolSchema } from '../../lib/config/fleet.ts';
import { isShared } from '../../lib/config/instance-role.ts';
import { serversOf } from '../../lib/engines/openai/servers.ts';

export interface BroughtServers {
  /** Default: the only pool there is. */
  readonly pool: string | undefined;
  readonly urls: readonly string[];
  /** Names of the instances; default: the pool's, the word "ext" and a number. */
  readonly ids: readonly string[];
  /** What they compute; default: as the pool says, and decode where others of it prefill. */
  readonly role?: PoolConfig['role'] | undefined;
  readonly settings: Partial<Omit<OpenaiEngineConfig, 'servers'>>;
}

export interface JoinedFleet {
  readonly fleet: FleetConfig;
  /** pool/instance, as the agent takes them. */
  readonly instances: readonly string[];
}

/** @throws SwitchyardError `unknown_pool` | `invalid_config`, with what to do */
export function withServers(fleet: FleetConfig, { pool: wanted, urls, ids, role, settings }: BroughtServers): JoinedFleet {
  const names = fleet.pools.map(({ id }) => id).join(', ');
  if (wanted === undefined && fleet.pools.length > 1)
    throw new SwitchyardError('unknown_pool', `which pool are they for? --pool takes one of ${names}`);
  const pool = fleet.pools.find(({ id }) => id === (wanted ?? fleet.pools[0]!.id));
  if (!pool)
    throw new SwitchyardError(
      'unknown_pool',
      `there is no pool ${wanted}: take one of ${names}, or add it to the fleet file that gateways and routers read`,
    );
  if (ids.length > 0 && ids.length !== urls.length)
    throw new SwitchyardError('invalid_config', `${ids.length} names for ${urls.length} servers: give --id once for each --url, or not at all`);
  const servers = urls.map((url, index) => ({ url, id: ids[index] ?? `${pool.id}-ext-${index + 1}` }));
  const { sim: _sim, llama: _llama, ...rest } = pool;
  const roles = { role: role ?? (isShared(pool) ? 'decode' : pool.role), prefillInstances: 0 };
  const parsed = poolSchema.safeParse({ ...rest, ...roles, engine: 'openai', openai: { ...pool.openai, ...settings, servers } });
  if (!parsed.success)
    throw new SwitchyardError('invalid_config', parsed.error.issues.map(({ path, message }) => `${path.slice(1).join('.')}: ${message}`).join('; '));
  const joined = parsed.data;
  return {
    fleet: { pools: fleet.pools.map((one) => (one === pool ? joined : one)) },
    instances: serversOf(joined).map(({ id }) => `${pool.id}/${id}`),
  };
}
