// What this machine has: programs on PATH and in the cache with their versions, toolchains, package managers.
import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Facts, Found } from './decide-source.ts';
import type { PackageManager, Platform, Program } from './programs.ts';
import { firstVersion } from './version.ts';

const askTimeoutMs = 10_000;

/** Where programs that were fetched or built are kept; shared by all checkouts of a user. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'switchyard');
}

/** Where a provided program lies: a folder per version, so that versions do not replace each other. */
export function cachedPath(program: Program, cache: string): string {
  return join(cache, `${program.name}-${program.version}`, program.maven?.file ?? program.name);
}

export function onPath(command: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  for (const folder of (env.PATH ?? '').split(delimiter).filter(Boolean)) {
    const path = join(folder, command);
    if (isExecutable(path)) return path;
  }
  return undefined;
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** What a program prints, on both outputs; empty when it cannot be run. */
export function ask(path: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile(path, args, { timeout: askTimeoutMs, encoding: 'utf8' }, (error, stdout, stderr) => {
      resolve(error && !stdout && !stderr ? '' : `${stdout}\n${stderr}`);
    });
  });
}

export async function gatherFacts(program: Program, cache: string, env: NodeJS.ProcessEnv = process.env): Promise<Facts> {
  const [found, goVersion, javaMajor] = await Promise.all([
    findProgram(program, cache, env),
    program.go ? goVersionOf(env) : undefined,
    program.maven ? javaMajorOf(env) : undefined,
  ]);
  return {
    found,
    platform: `${process.platform}-${process.arch}` as Platform,
    goVersion,
    javaMajor,
    maven: onPath('mvn', env) !== undefined,
    root: process.getuid?.() === 0,
    packageManager: (['apt-get', 'apk', 'dnf'] as PackageManager[]).find((manager) => onPath(manager, env) !== undefined),
  };
}

async function findProgram(program: Program, cache: string, env: NodeJS.ProcessEnv): Promise<Found[]> {
  const found: Found[] = [];
  for (const command of program.commands) {
    const path = onPath(command, env);
    if (path === undefined) continue;
    found.push({ path, where: 'PATH', version: program.readVersion(await ask(path, program.versionArguments)) });
  }
  const path = cachedPath(program, cache);
  // Only finished programs get there (atomic rename); a jar is not run to ask its version, the folder says it.
  if (program.maven && canRead(path)) found.push({ path, where: 'cache', version: program.version });
  else if (isExecutable(path)) found.push({ path, where: 'cache', version: program.readVersion(await ask(path, program.versionArguments)) });
  return found;
}

function canRead(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

async function goVersionOf(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const go = onPath('go', env);
  return go && firstVersion(await ask(go, ['version']));
}

/** The major version of `java` on PATH; 8 says 1.8. */
async function javaMajorOf(env: NodeJS.ProcessEnv): Promise<number | undefined> {
  const java = onPath('java', env);
  const version = java && /version "(?:1\.)?(\d+)/.exec(await ask(java, ['-version']))?.[1];
  return version ? Number(version) : undefined;
}
