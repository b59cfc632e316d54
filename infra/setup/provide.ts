// Provides a program that Switchyard runs beside its services: decides where it comes from (decide-source.ts) and
// carries that out, telling each step. What is fetched or built goes into the cache, complete or not at all.
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { decideSource, type SourceStep } from './decide-source.ts';
import { distributionPackage, downloadRelease, goInstall, mavenCopy } from './fetch-program.ts';
import { withLock } from './lock-file.ts';
import { ask, cachedPath, cacheFolder, gatherFacts, onPath } from './machine-facts.ts';
import { type Program, type ProgramName, programs } from './programs.ts';
import type { Progress, ProgressStep } from './progress.ts';

export interface Provided {
  readonly path: string;
  /** As the program says it. */
  readonly version: string;
  /** For a person: "on PATH", "built with Go". */
  readonly from: string;
}

/** No way led to the program. The message says what was tried and what to install by hand. */
export class ProvisionError extends Error {
  readonly program: ProgramName;
  /** What was tried or ruled out, one sentence each. */
  readonly reasons: readonly string[];

  constructor(program: Program, reasons: readonly string[]) {
    super(
      [`${program.name} (${program.purpose}) is not here and could not be had:`, ...reasons.map((reason) => `  - ${reason}`), program.byHand].join(
        '\n',
      ),
    );
    this.name = 'ProvisionError';
    this.program = program.name;
    this.reasons = reasons;
  }
}

export interface ProvideOptions {
  readonly progress: Progress;
  readonly env?: NodeJS.ProcessEnv;
  /** Only what is on this machine already: nothing is fetched, built or installed. */
  readonly onlyFound?: boolean;
  /** Switchyard does without it: a failure is said in passing. */
  readonly optional?: boolean;
}

/**
 * The path of a suitable program, fetched, built or installed when it is not there.
 * @throws ProvisionError
 */
export async function provide(name: ProgramName, options: ProvideOptions): Promise<Provided> {
  const program = programs[name];
  const env = options.env ?? process.env;
  const cache = cacheFolder(env);
  const first = decideSource(program, await gatherFacts(program, cache, env));
  if (first.steps[0]?.kind === 'found') return asFound(first.steps[0]);
  if (options.onlyFound) throw new ProvisionError(program, [...first.closed, 'nothing was fetched: only what is here was asked for']);
  const step = options.progress.step(name, 'looking for a way to get it');
  try {
    return await withLock(
      join(cache, 'locks', `${name}.lock`),
      (pid) => step.doing(`waiting for process ${pid}, which is getting it`),
      async () => {
        // Another process may have provided it while we waited.
        const plan = decideSource(program, await gatherFacts(program, cache, env));
        if (plan.steps[0]?.kind === 'found') {
          step.done('is there now');
          return asFound(plan.steps[0]);
        }
        return await carryOut(program, plan.steps, plan.closed, { cache, env, step, progress: options.progress });
      },
    );
  } catch (error) {
    const text = error instanceof ProvisionError ? `not to be had: ${error.reasons.join('; ').split('\n')[0]}` : String(error);
    if (options.optional) step.skipped(text);
    else step.failed(text);
    throw error;
  }
}

/** Programs that Switchyard cannot run without. The message has all of them, so that one installation by hand is enough. */
export class MissingProgramsError extends Error {
  constructor(missing: readonly ProvisionError[]) {
    super(missing.map((one) => one.message).join('\n\n'));
    this.name = 'MissingProgramsError';
  }
}

/**
 * All of them, in the order of `names`, provided at the same time.
 * @throws MissingProgramsError
 */
export async function provideAll(names: readonly ProgramName[], options: ProvideOptions): Promise<Provided[]> {
  const outcomes = await Promise.allSettled(names.map((name) => provide(name, options)));
  const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
  for (const failure of failures) if (!(failure instanceof ProvisionError)) throw failure;
  if (failures.length > 0) throw new MissingProgramsError(failures as ProvisionError[]);
  return outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
}

interface Work {
  readonly cache: string;
  readonly env: NodeJS.ProcessEnv;
  readonly step: ProgressStep;
  readonly progress: Progress;
}

async function carryOut(program: Program, steps: readonly SourceStep[], closed: readonly string[], work: Work): Promise<Provided> {
  const reasons = [...closed];
  for (const step of steps) {
    try {
      const provided = await carryOutStep(program, step, work);
      work.step.done(`${provided.version}, ${provided.from}`);
      return provided;
    } catch (error) {
      reasons.push(`${attempted(step)}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new ProvisionError(program, reasons);
}

async function carryOutStep(program: Program, step: SourceStep, work: Work): Promise<Provided> {
  if (step.kind === 'found') return asFound(step);
  if (step.kind === 'package') {
    await distributionPackage(step.manager, step.name, work.step);
    const path = program.commands.map((command) => onPath(command, work.env)).find((found) => found !== undefined);
    if (path === undefined) throw new Error('the package is installed, and the program is not on PATH');
    return await checked(program, path, `installed with ${step.manager}`);
  }
  const target = cachedPath(program, work.cache);
  mkdirSync(work.cache, { recursive: true });
  removeScratch(program, work.cache);
  // Next to the target, so that the rename stays on one file system and is atomic.
  const scratch = mkdtempSync(join(work.cache, `.${program.name}-`));
  try {
    const made = await make(program, step, scratch, work);
    const provided = await checked(program, made.path, made.from);
    mkdirSync(dirname(target), { recursive: true });
    renameSync(made.path, target);
    return { ...provided, path: target };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** What an interrupted attempt has left: we hold the lock, so nobody is at work there. */
function removeScratch(program: Program, cache: string): void {
  for (const name of readdirSync(cache)) {
    if (name.startsWith(`.${program.name}-`)) rmSync(join(cache, name), { recursive: true, force: true });
  }
}

async function make(program: Program, step: SourceStep, scratch: string, work: Work): Promise<{ path: string; from: string }> {
  if (step.kind === 'release') return { path: await downloadRelease(program, scratch, work.step), from: 'official release, checksum verified' };
  if (step.kind === 'maven') return { path: await mavenCopy(program, scratch, work.step), from: 'from Maven Central' };
  if (step.kind === 'go') return { path: await goInstall(step, scratch, work.env, work.step), from: 'built with Go' };
  throw new Error(`${step.kind} makes nothing`);
}

/** The program runs here and is recent enough. */
async function checked(program: Program, path: string, from: string): Promise<Provided> {
  if (program.maven) return { path, version: program.version, from };
  const plan = decideSource(program, {
    found: [{ path, where: 'cache', version: program.readVersion(await ask(path, program.versionArguments)) }],
    platform: 'none-none',
    goVersion: undefined,
    javaMajor: undefined,
    maven: false,
    root: false,
    packageManager: undefined,
  });
  if (plan.steps[0]?.kind !== 'found') throw new Error(plan.closed[0]);
  return { ...asFound(plan.steps[0]), from };
}

function asFound(step: SourceStep & { kind: 'found' }): Provided {
  return { path: step.path, version: step.version, from: step.where === 'PATH' ? 'on PATH' : 'from the cache' };
}

function attempted(step: SourceStep): string {
  if (step.kind === 'release') return `the official release (${step.url})`;
  if (step.kind === 'go') return `go install ${step.target}`;
  if (step.kind === 'package') return `${step.manager} install ${step.name}`;
  if (step.kind === 'maven') return `mvn dependency:copy ${step.artifact}`;
  return step.path;
}
