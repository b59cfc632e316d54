// Which pools one start has: those of fleet.yaml as far as their engines can be had, with the user's own model or the user's own
// servers in their place where a flag says so. Pure: prepare-engines.ts finds the facts.
import type { FleetConfig, PoolConfig } from '../../lib/config/fleet.ts';
import { poolSchema } from '../../lib/config/fleet.ts';
import { smollm2 } from './models.ts';

/** A model of the user, in place of SmolLM2. */
export interface OwnModel {
  readonly file: string;
  /** For "model" in requests. */
  readonly name: string;
  readonly threads: number;
  readonly gpuLayers: number;
}

/** A server that runs already, and what it says it serves. */
export interface OwnServer {
  readonly url: string;
  readonly models: readonly string[];
}

/** Two, so that a running answer can be moved from one to the other. */
const ownModelInstances = 2;

/** The pool of the user's model takes the place of the pool of SmolLM2, or is the first where there is none. */
export function withOwnModel(fleet: FleetConfig, own: OwnModel): FleetConfig {
  const rest = fleet.pools.filter((pool) => pool.llama?.model !== smollm2.name);
  const replaced = fleet.pools.find((pool) => pool.llama?.model === smollm2.name);
  const pool = poolSchema.parse({
    ...(replaced ?? { instances: ownModelInstances, min: 1, max: 2 * ownModelInstances, floor: 1 }),
    id: 'own',
    models: [own.name],
    engine: 'llama',
    llama: { ...replaced?.llama, model: own.file, threads: own.threads, gpuLayers: own.gpuLayers },
  });
  return { pools: [pool, ...rest.filter(({ id, models }) => id !== pool.id && !models.includes(own.name))] };
}

/**
 * One pool for the servers of each model, and no other: who puts Switchyard before servers wants no simulated ones beside them.
 * Their number is not ours to change.
 */
export function fleetOfServers(servers: readonly OwnServer[], apiKeyEnv: string | undefined): FleetConfig {
  const byModel = Map.groupBy(servers, ({ models }) => models[0] as string);
  const pools = Array.from(byModel.values(), (group, index): PoolConfig => {
    const [first] = group as [OwnServer];
    const inOthers = new Set([...byModel.values()].filter((other) => other !== group).flatMap((other) => other.map(({ models }) => models[0])));
    return poolSchema.parse({
      id: index === 0 ? 'engines' : `engines-${index + 1}`,
      models: first.models.filter((name) => group.every(({ models }) => models.includes(name)) && !inOthers.has(name)),
      engine: 'openai',
      openai: { servers: group.map(({ url }) => ({ url })), ...(apiKeyEnv && { apiKeyEnv }) },
      instances: group.length,
      min: group.length,
      max: group.length,
      floor: 0,
    });
  });
  const taken = new Set<string>();
  return {
    pools: pools.map((pool) => {
      const models = pool.models.filter((name) => !taken.has(name));
      for (const name of models) taken.add(name);
      return { ...pool, models };
    }),
  };
}

export interface Missing {
  readonly pool: string;
  readonly reason: string;
}

/** Without the pools whose engines cannot be had. @throws Error when none is left */
export function withoutMissing(fleet: FleetConfig, missing: readonly Missing[]): FleetConfig {
  const pools = fleet.pools.filter(({ id }) => !missing.some(({ pool }) => pool === id));
  if (pools.length > 0) return { pools };
  throw new Error(`No pool of the fleet can be started:\n${missing.map(({ pool, reason }) => `  ${pool}: ${reason}`).join('\n')}`);
}

/** CPU threads of an instance of a model that may be large: all instances together leave two of the machine's to everything else. */
export function threadsFor(cores: number): number {
  return Math.max(1, Math.floor((cores - 2) / ownModelInstances));
}
