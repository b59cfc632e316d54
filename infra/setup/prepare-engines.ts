// Gets what the engines of a start need (llama.cpp, models, answers of the user's own servers) and makes the fleet that can be
// started with it. Where it differs from fleet.yaml, services read it from a folder of this start.
import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import type { FleetConfig } from '../../lib/config/fleet.ts';
import { fleetOfServers, type Missing, type OwnModel, threadsFor, withOwnModel, withoutMissing } from './engine-fleet.ts';
import { modelNameOf, whyNoGguf } from './gguf-file.ts';
import { provideLlama, wantsGpu } from './llama-package.ts';
import { loadFleet } from './load-fleet.ts';
import { ModelError, provideModel } from './models.ts';
import { askServers, serverAddresses } from './own-servers.ts';
import type { Progress } from './progress.ts';
import type { StartSettings } from './settings.ts';

/** More than any model has. */
const allLayers = 1000;
const apiKeyVariable = 'SWITCHYARD_ENGINES_API_KEY';

export interface PreparedEngines {
  readonly fleet: FleetConfig;
  /** For SWITCHYARD_CONFIG_DIR. */
  readonly configFolder: string;
  /** For the environment of agents. */
  readonly agentEnv: Readonly<Record<string, string>>;
}

export interface PrepareOptions {
  /** Nothing is fetched that nobody has asked for by a flag. */
  readonly onlyFound?: boolean;
}

/** @throws Error with a message for a person, SwitchyardError `invalid_config` */
export async function prepareEngines(settings: StartSettings, progress: Progress, options: PrepareOptions = {}): Promise<PreparedEngines> {
  const { env } = settings;
  if (settings.engines !== undefined) {
    const servers = await askServers(serverAddresses(settings.engines), env[apiKeyVariable], progress);
    const fleet = fleetOfServers(servers, env[apiKeyVariable] ? apiKeyVariable : undefined);
    return { fleet, configFolder: writeConfig(settings, fleet, `the servers of SWITCHYARD_ENGINES`), agentEnv: {} };
  }
  const written = loadFleet(settings.configFolder);
  const wanted = settings.model === undefined ? written : withOwnModel(written, ownModelOf(settings.model, env));
  const { missing, agentEnv } = await provideEngines(wanted, settings, progress, {
    ...options,
    ...(settings.model !== undefined && { onlyFound: false }),
  });
  const own = missing.find(({ pool }) => settings.model !== undefined && pool === 'own');
  if (own !== undefined) throw new Error(`--model ${settings.model} cannot be used: ${own.reason}`);
  for (const { pool, reason } of missing) progress.say(`  pool ${pool} is left out: ${reason}`);
  const fleet = withoutMissing(wanted, missing);
  const why = [...(settings.model === undefined ? [] : ['--model']), ...missing.map(({ pool }) => `pool ${pool} left out`)].join(', ');
  return { fleet, agentEnv, configFolder: fleet.pools === written.pools || why === '' ? settings.configFolder : writeConfig(settings, fleet, why) };
}

function ownModelOf(path: string, env: NodeJS.ProcessEnv): OwnModel {
  // npm runs its scripts in the folder of the package; this is where the person was.
  const file = resolve(env.INIT_CWD ?? process.cwd(), path);
  const why = whyNoGguf(file);
  if (why !== undefined) throw new Error(`--model: ${why}`);
  return { file, name: modelNameOf(file), threads: threadsFor(availableParallelism()), gpuLayers: wantsGpu(env) ? allLayers : 0 };
}

async function provideEngines(
  fleet: FleetConfig,
  settings: StartSettings,
  progress: Progress,
  options: PrepareOptions,
): Promise<{ missing: Missing[]; agentEnv: Record<string, string> }> {
  const pools = fleet.pools.filter(({ engine }) => engine === 'llama');
  if (pools.length === 0) return { missing: [], agentEnv: {} };
  if (settings.simulated) return { missing: pools.map(({ id }) => ({ pool: id, reason: '--simulated' })), agentEnv: {} };
  const names = [...new Set(pools.map(({ llama }) => llama!.model))];
  const [folder, ...models] = await Promise.all([
    provideLlama(progress, { env: settings.env, ...options }),
    ...names.map((name) => modelOrReason(name, settings, progress, options)),
  ]);
  const noPackage = options.onlyFound
    ? 'llama.cpp is not in the cache: `npm start` without --embedded installs it'
    : 'llama.cpp is not to be had (see above)';
  const missing = pools.flatMap(({ id, llama }): Missing[] => {
    const model = models[names.indexOf(llama!.model)]!;
    const reason = folder === undefined ? noPackage : model.reason;
    return reason === undefined ? [] : [{ pool: id, reason }];
  });
  const files = Object.fromEntries(names.flatMap((name, index) => (models[index]?.path === undefined ? [] : [[name, models[index].path]])));
  return {
    missing,
    agentEnv: { ...(folder !== undefined && { SWITCHYARD_AGENT_LLAMA_PACKAGE: folder }), SWITCHYARD_AGENT_MODELS: JSON.stringify(files) },
  };
}

async function modelOrReason(
  name: string,
  settings: StartSettings,
  progress: Progress,
  options: PrepareOptions,
): Promise<{ path?: string; reason?: string }> {
  try {
    return { path: await provideModel(name, settings.root, progress, { env: settings.env, ...options }) };
  } catch (error) {
    if (error instanceof ModelError) return { reason: error.message };
    throw error;
  }
}

/** Settings of services stay where they are: a change of theirs is seen here as well. */
function writeConfig(settings: StartSettings, fleet: FleetConfig, why: string): string {
  const folder = join(settings.stateFolder, 'config');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(settings.configFolder)) {
    if (name.endsWith('.yaml') && name !== 'fleet.yaml') symlinkSync(join(settings.configFolder, name), join(folder, name));
  }
  const head = `# Made by npm start out of ${join(settings.configFolder, 'fleet.yaml')} (${why}), anew at each start.\n`;
  writeFileSync(join(folder, 'fleet.yaml'), head + stringify(fleet));
  return folder;
}
