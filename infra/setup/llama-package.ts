// Provides node-llama-cpp for agents: a package of its own (infra/engines), installed by npm into the cache, once, complete or
// not at all. Everything else works without it.
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type LlamaPlan, planLlama } from './llama-plan.ts';
import { withLock } from './lock-file.ts';
import { cacheFolder, onPath } from './machine-facts.ts';
import type { Progress, ProgressStep } from './progress.ts';
import { runCommand } from './run-command.ts';

const stepName = 'llama.cpp';
const entry = 'node_modules/node-llama-cpp/dist/index.js';
/** What was installed: written last, so that its presence says that all of it is there. */
const recordFile = 'installed.json';
/** npm says nothing while it fetches; without network it gives up by itself after some ten seconds. */
const npmTimeoutMs = 600_000;
const trialTimeoutMs = 60_000;

interface InstallRecord {
  /** Of llama.cpp, as it says itself. */
  readonly release: string;
  readonly bytes: number;
  /** Sizes by path below the folder. */
  readonly files: Readonly<Record<string, number>>;
}

export interface LlamaOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** Only what is on this machine already. */
  readonly onlyFound?: boolean;
}

/**
 * The folder whose node_modules has node-llama-cpp: that of SWITCHYARD_AGENT_LLAMA_PACKAGE, or of the cache, installed when it is
 * not there. SWITCHYARD_LLAMA_GPU=1 asks for the variants that use a GPU. Undefined when it cannot be had; the progress says why.
 */
export async function provideLlama(progress: Progress, options: LlamaOptions = {}): Promise<string | undefined> {
  const env = options.env ?? process.env;
  const given = env.SWITCHYARD_AGENT_LLAMA_PACKAGE;
  if (given) {
    if (existsSync(join(given, entry))) return resolve(given);
    progress.step(stepName, '').skipped(`SWITCHYARD_AGENT_LLAMA_PACKAGE is ${given}, and there is no ${entry} in it`);
    return undefined;
  }
  const gpu = wantsGpu(env);
  const plan = planLlama(`${process.platform}-${process.arch}`, readSources(gpu));
  if ('reason' in plan) {
    progress.step(stepName, '').skipped(plan.reason);
    return undefined;
  }
  const cache = cacheFolder(env);
  const folder = join(cache, `node-llama-cpp-${plan.version}-${plan.key}`);
  if (isWhole(folder)) {
    progress.step(stepName, '').done(`${readRecord(folder).release} (node-llama-cpp ${plan.version}) from the cache`);
    return folder;
  }
  if (options.onlyFound) return undefined;
  const step = progress.step(stepName, 'looking for it');
  return await withLock(
    join(cache, 'locks', 'llama.lock'),
    (pid) => step.doing(`waiting for process ${pid}, which is installing it`),
    async () => {
      try {
        const isThere = isWhole(folder);
        const record = isThere ? readRecord(folder) : await install(plan, folder, { cache, env, step, gpu });
        step.done(`${record.release} (node-llama-cpp ${plan.version}), ${isThere ? 'is there now' : `installed, ${megabytes(record.bytes)}`}`);
        return folder;
      } catch (error) {
        step.skipped(`not to be had: ${error instanceof Error ? error.message : String(error)}`);
        return undefined;
      }
    },
  );
}

/** SWITCHYARD_LLAMA_GPU=1 */
export function wantsGpu(env: NodeJS.ProcessEnv): boolean {
  return /^(1|true)$/.test(env.SWITCHYARD_LLAMA_GPU ?? '');
}

function readSources(gpu: boolean): { manifest: string; lock: string } {
  const source = join(import.meta.dirname, '../engines', gpu ? 'llama-gpu' : 'llama');
  return { manifest: readFileSync(join(source, 'package.json'), 'utf8'), lock: readFileSync(join(source, 'package-lock.json'), 'utf8') };
}

interface Work {
  readonly cache: string;
  readonly env: NodeJS.ProcessEnv;
  readonly step: ProgressStep;
  readonly gpu: boolean;
}

async function install(plan: LlamaPlan, folder: string, { cache, env, step, gpu }: Work): Promise<InstallRecord> {
  if (onPath('npm', env) === undefined) throw new Error('there is no npm on PATH');
  mkdirSync(cache, { recursive: true });
  // We hold the lock: what an interrupted attempt has left is nobody's.
  for (const name of readdirSync(cache)) if (name.startsWith('.node-llama-cpp-')) rmSync(join(cache, name), { recursive: true, force: true });
  const scratch = mkdtempSync(join(cache, '.node-llama-cpp-'));
  try {
    for (const [name, text] of Object.entries(plan.files)) writeFileSync(join(scratch, name), text);
    step.doing(`installing node-llama-cpp ${plan.version} with npm${gpu ? ', with the variants for GPUs, about 700 MB' : ', about 85 MB'}`);
    await runCommand('npm', plan.npmArguments, { cwd: scratch, env: withoutNpm(env), timeoutMs: npmTimeoutMs });
    const missing = plan.packages.find((name) => !existsSync(join(scratch, 'node_modules', name, 'package.json')));
    if (missing !== undefined) throw new Error(`npm has not installed ${missing} (its binaries need glibc on Linux)`);
    step.doing('trying it');
    const trial = [join(import.meta.dirname, 'try-llama.mjs'), scratch, ...(gpu ? ['gpu'] : [])];
    const said = await runCommand(process.execPath, trial, { cwd: scratch, env, timeoutMs: trialTimeoutMs });
    const { release } = JSON.parse(said.trim().split('\n').at(-1) as string) as { release: string };
    const files = sizesOf(scratch);
    const record: InstallRecord = { release, bytes: Object.values(files).reduce((sum, size) => sum + size, 0), files };
    writeFileSync(join(scratch, recordFile), JSON.stringify(record));
    rmSync(folder, { recursive: true, force: true });
    renameSync(scratch, folder);
    return record;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Nothing has gone or been cut since: a cleaner of caches may take single files. */
function isWhole(folder: string): boolean {
  try {
    const { files } = readRecord(folder);
    return Object.entries(files).every(([path, size]) => lstatSync(join(folder, path)).size === size);
  } catch {
    return false;
  }
}

function readRecord(folder: string): InstallRecord {
  return JSON.parse(readFileSync(join(folder, recordFile), 'utf8')) as InstallRecord;
}

function sizesOf(folder: string): Record<string, number> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((found) => !found.isDirectory());
  return Object.fromEntries(
    entries.map((found) => {
      const path = join(found.parentPath, found.name);
      return [path.slice(folder.length + 1), lstatSync(path).size];
    }),
  );
}

/** npm of its own: `npm start` has set variables that speak of this repository. */
function withoutNpm(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const foreign = /^npm_(package_|lifecycle_|config_(local_prefix|prefix|global_prefix|omit|include|production))|^npm_command$|^INIT_CWD$/i;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !foreign.test(name)));
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
