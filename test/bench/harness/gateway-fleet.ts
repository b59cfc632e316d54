// Our gateway as a contender: every service beside it, a key with budgets, two agents with a simulated engine for each rhythm.
import { coefficientsOf } from '../../../core/engine/profiles.ts';
import { stepMs } from '../../../core/engine/step-model.ts';
import type { ServiceName } from '../../../lib/run/service.ts';
import type { Fleet } from '../../support/fleet.ts';
import type { Contender } from './contenders.ts';
import { startOurFleet } from './our-fleet.ts';

export interface Ours extends Contender {
  readonly fleet: Fleet;
}

/** `streams` share two engines that then give each a token every `tokenMs`. */
export async function startOurs(options: {
  streams: number;
  tokenMs: number;
  env?: Readonly<Record<string, string>>;
  /** Services that share the gateway's process; empty: each has its own. */
  together: readonly ServiceName[];
}): Promise<Ours> {
  const profile = 'llama-3.1-8b-h100';
  const sim = { profile, blockTokens: 16, kvBytesPerToken: 8, maxRunning: 64, maxWaiting: 256, prefillChunk: 65_536, maxContextTokens: 131_072 };
  const pacedSpeed = stepMs(coefficientsOf(profile), options.streams / 2, []) / options.tokenMs;
  const price = { inputMicros: 0.05, outputMicros: 0.2 };
  const pool = (id: string, speed: number) => ({ id, models: [`bench-${id}`], instances: 2, max: 2, sim: { ...sim, blocks: 65_536, speed }, price });
  const { env, together } = options;
  const ours = await startOurFleet({
    pools: [pool('at-once', 1000), pool('paced', pacedSpeed)],
    ...(env ? { env } : {}),
    together,
  });
  const { gateway = [], agent = [], nats = [], redis = [], temporal, ...services } = ours.pids;
  const others = [...new Set(Object.values(services).flat())].filter((pid) => !gateway.includes(pid));
  return {
    name: together.length > 0 ? `Switchyard, ${together.join(', ')} in one process` : 'Switchyard',
    url: ours.fleet.gatewayUrl,
    headers: ours.headers,
    models: { atOnce: 'bench-at-once', paced: 'bench-paced' },
    groups: { gateway, services: others, nats, redis, agents: agent },
    fleet: ours.fleet,
    stop: () => ours.fleet.stop(),
  };
}
