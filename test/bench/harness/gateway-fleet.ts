// Our gateway as a contender: every service beside it, a key with budgets, and two agents for each rhythm with a simulated engine,
// or two agents in front of the engines that the others have.
import { coefficientsOf } from '../../../core/engine/profiles.ts';
import { stepMs } from '../../../core/engine/step-model.ts';
import type { ServiceName } from '../../../lib/run/service.ts';
import type { Fleet } from '../../support/fleet.ts';
import { type Contender, fakeModel } from './contenders.ts';
import { startOurFleet } from './our-fleet.ts';

export interface Ours extends Contender {
  readonly fleet: Fleet;
}

export interface OursOptions {
  readonly name: string;
  /** Streams that share two simulated engines, which then give each a token every `tokenMs`. */
  readonly streams: number;
  readonly tokenMs: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Services that share the gateway's process; empty: each has its own. */
  readonly together: readonly ServiceName[];
  /** Engines that run already; empty: simulated ones. */
  readonly engines: readonly string[];
}

const price = { inputMicros: 0.05, outputMicros: 0.2 };

function simulated({ streams, tokenMs }: OursOptions) {
  const profile = 'llama-3.1-8b-h100';
  const sim = { profile, blockTokens: 16, kvBytesPerToken: 8, maxRunning: 64, maxWaiting: 256, prefillChunk: 65_536, maxContextTokens: 131_072 };
  const pacedSpeed = stepMs(coefficientsOf(profile), streams / 2, []) / tokenMs;
  const pool = (id: string, speed: number) => ({ id, models: [`bench-${id}`], instances: 2, max: 2, sim: { ...sim, blocks: 65_536, speed }, price });
  return { pools: [pool('at-once', 1000), pool('paced', pacedSpeed)], models: { atOnce: 'bench-at-once', paced: 'bench-paced' } };
}

function plain({ engines }: OursOptions) {
  const openai = { servers: engines.map((url) => ({ url })), maxRunning: 64 };
  const pool = { id: 'plain', models: [fakeModel], engine: 'openai', openai, instances: engines.length, max: engines.length, floor: 0, price };
  return { pools: [pool], models: { atOnce: fakeModel, paced: fakeModel } };
}

export async function startOurs(options: OursOptions): Promise<Ours> {
  const { env, together } = options;
  const { pools, models } = options.engines.length > 0 ? plain(options) : simulated(options);
  const ours = await startOurFleet({ pools, ...(env ? { env } : {}), together });
  const { gateway = [], agent = [], nats = [], redis = [], temporal, ...services } = ours.pids;
  const others = [...new Set(Object.values(services).flat())].filter((pid) => !gateway.includes(pid));
  return {
    name: options.name,
    url: ours.fleet.gatewayUrl,
    headers: ours.headers,
    models,
    groups: { gateway, services: others, nats, redis, agents: agent },
    fleet: ours.fleet,
    stop: () => ours.fleet.stop(),
  };
}
