// Finds llama.cpp's own server for the tests with real engines: on PATH, in the cache, or (when asked for) built from the source
// that lies in node-llama-cpp's package. No network is needed for that; cmake, a C++ compiler and git are.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { withLock } from './lock-file.ts';
import { ask, cacheFolder, isExecutable, onPath } from './machine-facts.ts';
import type { Progress, ProgressStep } from './progress.ts';
import { runCommand } from './run-command.ts';

export interface LlamaServer {
  readonly path: string;
  /** As it says itself. */
  readonly version: string;
  readonly from: 'PATH' | 'cache' | 'built';
}

export class LlamaServerError extends Error {
  constructor(message: string) {
    super(`llama-server cannot be had: ${message} Or put one on PATH (llama.cpp: brew install llama.cpp, or its releases).`);
    this.name = 'LlamaServerError';
  }
}

const name = 'llama-server';
const buildTimeoutMs = 3_600_000;
/** Everything that the tests do not use is left out: it halves the build. */
const cmakeSettings = [
  ...['CMAKE_BUILD_TYPE=Release', 'BUILD_SHARED_LIBS=OFF', 'GGML_OPENMP=OFF', 'LLAMA_BUILD_SERVER=ON'],
  ...['LLAMA_BUILD_TESTS', 'LLAMA_BUILD_EXAMPLES', 'LLAMA_BUILD_APP', 'LLAMA_BUILD_UI', 'LLAMA_USE_PREBUILT_UI', 'LLAMA_OPENSSL'].map(
    (one) => `${one}=OFF`,
  ),
];

/** What is on this machine already. */
export async function findLlamaServer(env: NodeJS.ProcessEnv = process.env): Promise<LlamaServer | undefined> {
  const given = onPath(name, env);
  if (given !== undefined) return { path: given, version: await versionOf(given), from: 'PATH' };
  const cached = newest(join(cacheFolder(env), name));
  return cached === undefined ? undefined : { path: cached, version: await versionOf(cached), from: 'cache' };
}

/**
 * What is here, or else built: some ten minutes of one core. `package`: the folder whose node_modules has node-llama-cpp.
 * @throws LlamaServerError
 */
export async function provideLlamaServer(
  progress: Progress,
  packageFolder: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): Promise<LlamaServer> {
  const found = await findLlamaServer(env);
  if (found) return found;
  const step = progress.step(name, 'looking for its source');
  try {
    return await withLock(
      join(cacheFolder(env), 'locks', `${name}.lock`),
      (pid) => step.doing(`waiting for process ${pid}, which is building it`),
      async () => {
        const server = (await findLlamaServer(env)) ?? (await build(packageFolder, step, env));
        step.done(server.version);
        return server;
      },
    );
  } catch (error) {
    const failure = error instanceof LlamaServerError ? error : new LlamaServerError(`${error instanceof Error ? error.message : String(error)}.`);
    step.failed('not to be had');
    throw failure;
  }
}

async function build(packageFolder: string | undefined, step: ProgressStep, env: NodeJS.ProcessEnv): Promise<LlamaServer> {
  const source = packageFolder && join(packageFolder, 'node_modules/node-llama-cpp/llama');
  const bundle = source && join(source, 'gitRelease.bundle');
  if (!source || !bundle || !existsSync(bundle)) throw new LlamaServerError('its source comes with node-llama-cpp, which is not installed.');
  const missing = ['git', 'cmake', 'c++'].filter((tool) => onPath(tool, env) === undefined);
  if (missing.length > 0) throw new LlamaServerError(`building it needs ${missing.join(' and ')} (apt install git cmake ninja-build g++).`);
  const { tag } = JSON.parse(readFileSync(join(source, 'llama.cpp.info.json'), 'utf8')) as { tag: string };
  const cache = join(cacheFolder(env), name);
  mkdirSync(cache, { recursive: true });
  // We hold the lock: what an interrupted attempt has left is nobody's.
  for (const entry of readdirSync(cache)) if (entry.startsWith('.')) rmSync(join(cache, entry), { recursive: true, force: true });
  const scratch = mkdtempSync(join(cache, '.build-'));
  const options = { env, cwd: scratch, timeoutMs: buildTimeoutMs };
  try {
    step.doing('unpacking its source');
    await runCommand('git', ['clone', '--quiet', bundle, 'source'], options);
    const ninja = onPath('ninja', env) === undefined ? [] : ['-G', 'Ninja'];
    const settings = cmakeSettings.map((setting) => `-D${setting}`);
    await runCommand('cmake', ['-S', 'source', '-B', 'build', ...ninja, ...settings], options);
    await runCommand('nice', ['cmake', '--build', 'build', '--target', name], {
      ...options,
      onLine: (line) => step.doing(`building ${tag} ${/^\[[^\]]*\]/.exec(line)?.[0] ?? ''}, about six minutes of two cores`),
    });
    const target = join(cache, tag, name);
    mkdirSync(dirname(target), { recursive: true });
    renameSync(join(scratch, 'build/bin', name), target);
    return { path: target, version: await versionOf(target), from: 'built' };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function newest(folder: string): string | undefined {
  if (!existsSync(folder)) return undefined;
  const paths = readdirSync(folder)
    .sort()
    .map((release) => join(folder, release, name));
  return paths.findLast(isExecutable);
}

async function versionOf(path: string): Promise<string> {
  return /version: (.+)/.exec(await ask(path, ['--version']))?.[1]?.trim() ?? 'unknown version';
}
