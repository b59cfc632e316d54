// Which of a pool's servers an instance is.
import { SwitchyardError } from '../../../core/errors/switchyard-error.ts';
import type { OpenaiEngineConfig, PoolConfig } from '../../config/fleet.ts';

export type ServerConfig = OpenaiEngineConfig['servers'][number] & { readonly id: string };

/** Each server with the name of its instance: its own, or that of the pool and a number from 1. */
export function serversOf(pool: Pick<PoolConfig, 'id' | 'openai'>): ServerConfig[] {
  return (pool.openai?.servers ?? []).map((server, index) => ({ ...server, id: server.id ?? `${pool.id}-${index + 1}` }));
}

/** @throws SwitchyardError `invalid_config` when the pool has no server of that name */
export function serverOf(pool: Pick<PoolConfig, 'id' | 'openai'>, instanceId: string): ServerConfig {
  const servers = serversOf(pool);
  const found = servers.find(({ id }) => id === instanceId);
  if (found) return found;
  const names = servers.map(({ id }) => id).join(', ');
  throw new SwitchyardError('invalid_config', `pool ${pool.id} has no server for instance ${instanceId}: its openai.servers are ${names}`);
}

/** The key that the servers want. @throws SwitchyardError `invalid_config` when its variable is not set */
export function apiKeyOf({ id, openai }: Pick<PoolConfig, 'id' | 'openai'>, variable: (name: string) => string | undefined): string | undefined {
  if (openai?.apiKeyEnv === undefined) return undefined;
  const key = variable(openai.apiKeyEnv);
  if (key === undefined)
    throw new SwitchyardError('invalid_config', `pool ${id}: set ${openai.apiKeyEnv}, which its openai.apiKeyEnv names, to the servers' API key`);
  return key;
}
