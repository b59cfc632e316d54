// Provides vLLM on a CPU for the tests with real engines: a Python environment in the cache, every package pinned by hash
// (infra/engines/vllm/requirements.txt), made once, complete or not at all. Nothing else needs it.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { withLock } from './lock-file.ts';
import { ask, cacheFolder, onPath } from './machine-facts.ts';
import type { Progress, ProgressStep } from './progress.ts';
import { runCommand } from './run-command.ts';

export const vllmVersion = '0.32.0';

export interface Vllm {
  readonly version: string;
  /** Runs vLLM's command line. */
  readonly python: string;
  readonly arguments: readonly string[];
}

/** vLLM cannot be had; the message says why and what to do. */
export class VllmError extends Error {
  constructor(message: string) {
    super(`vLLM ${vllmVersion} cannot be set up: ${message}`);
    this.name = 'VllmError';
  }
}

const requirementsFile = join(import.meta.dirname, '../engines/vllm/requirements.txt');
/** The packages are pinned for this one. */
const pythonVersion = '3.11';
/** 6.4 GB stay; while they are installed the downloads lie beside them. */
const bytesNeeded = 11e9;
/** Of a slow network. */
const installTimeoutMs = 3_600_000;
/** Written last, so that its presence says that all of it is there. */
const completeFile = 'complete';

/** @throws VllmError */
export async function provideVllm(progress: Progress, env: NodeJS.ProcessEnv = process.env): Promise<Vllm> {
  const key = createHash('sha256').update(readFileSync(requirementsFile)).digest('hex').slice(0, 12);
  const cache = cacheFolder(env);
  const folder = join(cache, 'vllm', `${vllmVersion}-${key}`);
  if (existsSync(join(folder, completeFile))) return vllmIn(folder);
  const step = progress.step('vLLM', 'looking for a Python');
  try {
    return await withLock(
      join(cache, 'locks', 'vllm.lock'),
      (pid) => step.doing(`waiting for process ${pid}, which is installing it`),
      async () => {
        if (!existsSync(join(folder, completeFile))) await install(folder, step, env);
        step.done(`${vllmVersion} on Python ${pythonVersion}`);
        return vllmIn(folder);
      },
    );
  } catch (error) {
    const failure = error instanceof VllmError ? error : new VllmError(error instanceof Error ? error.message : String(error));
    step.failed('not to be had');
    throw failure;
  }
}

async function install(folder: string, step: ProgressStep, env: NodeJS.ProcessEnv): Promise<void> {
  if (`${process.platform}-${process.arch}` !== 'linux-x64')
    throw new VllmError(`its packages are pinned for Linux on x64, and this is ${process.platform} on ${process.arch}.`);
  const python = await findPython(env);
  if (python === undefined)
    throw new VllmError(
      `there is no Python ${pythonVersion} with venv on PATH. Install it (apt install python${pythonVersion}-venv, pyenv install ${pythonVersion}).`,
    );
  // We hold the lock: what an interrupted attempt has left is nobody's.
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize < bytesNeeded)
    throw new VllmError(
      `it needs ${gigabytes(bytesNeeded)} at ${folder}, and ${gigabytes(bavail * bsize)} are free. Make room, or set XDG_CACHE_HOME.`,
    );

  const options = { env: { ...env, PIP_DISABLE_PIP_VERSION_CHECK: '1', PYTHONDONTWRITEBYTECODE: '1' }, cwd: folder, timeoutMs: installTimeoutMs };
  step.doing('making a Python environment');
  await runCommand(python, ['-m', 'venv', join(folder, 'venv')], options);
  const total = readFileSync(requirementsFile, 'utf8')
    .split('\n')
    .filter((line) => line.includes('==')).length;
  let fetched = 0;
  const said = () => step.doing(`fetching ${fetched} of ${total} packages, 3.3 GB in all`);
  said();
  try {
    // No package is asked what it wants: the list is complete, and one entry is deliberately another version.
    const flags = ['--no-deps', '--require-hashes', '--only-binary', ':all:', '--no-compile', '--no-cache-dir', '--progress-bar', 'off'];
    await runCommand(pythonIn(folder), ['-m', 'pip', 'install', ...flags, '-r', requirementsFile], {
      ...options,
      onLine(line) {
        if (line.startsWith('Collecting ')) fetched += 1;
        if (line.startsWith('Installing ')) step.doing(`installing ${total} packages, 6.4 GB`);
        else said();
      },
    });
  } catch (error) {
    throw new VllmError(
      `its packages could not be installed from the Python package index (is there a network?):\n      ${(error as Error).message}`,
    );
  }
  nameAsVllm(folder);
  await runCommand(pythonIn(folder), ['-c', 'import vllm, nixl._api'], options);
  writeFileSync(join(folder, completeFile), '');
}

/** vLLM looks itself up as "vllm" to say its version, and the package for CPUs has another name. */
function nameAsVllm(folder: string): void {
  const metadata = join(folder, `venv/lib/python${pythonVersion}/site-packages/vllm-${vllmVersion}+cpu.dist-info`);
  mkdirSync(metadata, { recursive: true });
  writeFileSync(join(metadata, 'METADATA'), `Metadata-Version: 2.1\nName: vllm\nVersion: ${vllmVersion}+cpu\n`);
}

async function findPython(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  for (const name of [`python${pythonVersion}`, 'python3', 'python']) {
    const path = onPath(name, env);
    if (path === undefined) continue;
    const said = await ask(path, ['-c', 'import sys, venv, ensurepip; print("python %d.%d" % sys.version_info[:2])']);
    if (said.includes(`python ${pythonVersion}`)) return path;
  }
  return undefined;
}

function vllmIn(folder: string): Vllm {
  return { version: vllmVersion, python: pythonIn(folder), arguments: ['-m', 'vllm.entrypoints.cli.main'] };
}

function pythonIn(folder: string): string {
  return join(folder, 'venv/bin/python');
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
