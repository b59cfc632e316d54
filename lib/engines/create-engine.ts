// Makes the adapter that a pool's configuration asks for.
import type { PoolConfig } from '../config/fleet.ts';
import type { Clock } from '../ports/clock.ts';
import type { EngineAdapter, EngineHooks } from '../ports/engines.ts';
import { SimEngine } from './sim/sim-engine.ts';

/** @throws SwitchyardError `invalid_config` */
export function createEngine(pool: PoolConfig, clock: Clock, hooks: EngineHooks): EngineAdapter {
  return new SimEngine({ model: pool.models[0]!, config: pool.sim, clock, hooks });
}
