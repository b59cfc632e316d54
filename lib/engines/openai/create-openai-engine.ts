// The adapter of one of a pool's servers.
import type { PoolConfig } from '../../config/fleet.ts';
import type { EngineHooks } from '../../ports/engines.ts';
import type { Ports } from '../../ports/ports.ts';
import { OpenaiEngine } from './adapter.ts';
import { apiKeyOf, serverOf } from './servers.ts';

/** @throws SwitchyardError `invalid_config` */
export function createOpenaiEngine({
  pool,
  instanceId,
  ports,
  hooks,
}: {
  pool: PoolConfig;
  instanceId: string;
  ports: Ports;
  hooks: EngineHooks;
}): OpenaiEngine {
  const { url, kvEvents: events, kvReplay: replay } = serverOf(pool, instanceId);
  const { http, clock } = ports;
  const kvEvents = events === undefined ? undefined : { events, replay };
  const apiKey = apiKeyOf(pool, ports.variable);
  return new OpenaiEngine({ config: pool.openai!, url, apiKey, model: pool.models[0]!, http, clock, hooks, kvEvents });
}
