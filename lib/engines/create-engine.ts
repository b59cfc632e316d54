// Makes the adapter that a pool's configuration asks for.
import type { PoolConfig } from '../config/fleet.ts';
import type { EngineAdapter, EngineHooks } from '../ports/engines.ts';
import type { Ports } from '../ports/ports.ts';
import { LlamaEngine } from './llama/llama-engine.ts';
import { createOpenaiEngine } from './openai/create-openai-engine.ts';
import { SimEngine } from './sim/sim-engine.ts';

/** What set-up has put on this machine for engines. */
export interface EngineFiles {
  /** Folder whose node_modules has node-llama-cpp. */
  readonly llamaPackage?: string | undefined;
  /** GGUF files by what pools call them; a name that is not here is the path of a file. */
  readonly models: Readonly<Record<string, string>>;
}

export interface EngineOptions {
  readonly pool: PoolConfig;
  readonly instanceId: string;
  readonly files?: EngineFiles;
  readonly ports: Ports;
  readonly hooks: EngineHooks;
}

/** @throws SwitchyardError `invalid_config` */
export function createEngine({ pool, instanceId, files, ports, hooks }: EngineOptions): EngineAdapter {
  switch (pool.engine) {
    case 'sim':
      return new SimEngine({ model: pool.models[0]!, config: pool.sim!, clock: ports.clock, hooks });
    case 'llama': {
      const config = pool.llama!;
      const modelFile = files?.models[config.model] ?? config.model;
      const { clock, identity } = ports;
      return new LlamaEngine({ model: pool.models[0]!, config, packageDir: files?.llamaPackage, modelFile, pid: identity.pid, clock, hooks });
    }
    case 'openai':
      return createOpenaiEngine({ pool, instanceId, ports, hooks });
  }
}
