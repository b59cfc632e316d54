// Decides where a program comes from: what is there already, then the official release, then a build, then the
// distribution's package. Pure: provide.ts finds the facts and carries the steps out.
import type { PackageManager, Platform, Program } from './programs.ts';
import { compareVersions } from './version.ts';

/** A program found on this machine. */
export interface Found {
  readonly path: string;
  readonly where: 'PATH' | 'cache';
  /** Undefined: it did not say. */
  readonly version: string | undefined;
}

export interface Facts {
  /** In order of PATH, then the cache. */
  readonly found: readonly Found[];
  readonly platform: Platform;
  readonly goVersion: string | undefined;
  readonly javaMajor: number | undefined;
  readonly maven: boolean;
  readonly root: boolean;
  readonly packageManager: PackageManager | undefined;
}

export type SourceStep =
  | { readonly kind: 'found'; readonly path: string; readonly where: 'PATH' | 'cache'; readonly version: string }
  | { readonly kind: 'release'; readonly url: string }
  | { readonly kind: 'go'; readonly target: string; readonly takes: string }
  | { readonly kind: 'package'; readonly manager: PackageManager; readonly name: string }
  | { readonly kind: 'maven'; readonly artifact: string };

export interface SourcePlan {
  /** To be tried in this order; the first that works is used. */
  readonly steps: readonly SourceStep[];
  /** Why the ways that are not in `steps` are closed, in words for a person. */
  readonly closed: readonly string[];
}

export function decideSource(program: Program, facts: Facts): SourcePlan {
  const closed: string[] = [];
  for (const found of facts.found) {
    const reason = whyUnsuitable(program, found);
    if (reason === undefined) {
      return { steps: [{ kind: 'found', path: found.path, where: found.where, version: found.version as string }], closed };
    }
    closed.push(reason);
  }
  const steps: SourceStep[] = [];
  for (const way of [release, goBuild, distribution, maven]) {
    const outcome = way(program, facts);
    if (typeof outcome === 'string') closed.push(outcome);
    else if (outcome !== undefined) steps.push(outcome);
  }
  return { steps, closed };
}

function whyUnsuitable(program: Program, found: Found): string | undefined {
  if (found.version === undefined) return `${found.path} does not say its version`;
  if (compareVersions(found.version, program.minVersion) >= 0) return undefined;
  return `${found.path} is ${found.version}, and ${program.minVersion} is needed: ${program.whyMin}`;
}

// Each way returns a step, why it is closed, or undefined when the program is not to be had that way at all.

function release(program: Program, facts: Facts): SourceStep | string | undefined {
  if (program.release === undefined) return undefined;
  const url = program.release.url(facts.platform);
  return url === undefined ? `there is no release for ${facts.platform}` : { kind: 'release', url };
}

function goBuild(program: Program, facts: Facts): SourceStep | string | undefined {
  if (program.go === undefined) return undefined;
  if (facts.goVersion === undefined) return 'there is no Go toolchain to build it with';
  if (compareVersions(facts.goVersion, program.go.minGo) < 0) {
    return `the Go toolchain is ${facts.goVersion}, and building it needs ${program.go.minGo}`;
  }
  return { kind: 'go', target: `${program.go.package}@${program.go.version}`, takes: program.go.takes };
}

function distribution(program: Program, facts: Facts): SourceStep | string | undefined {
  if (program.packages === undefined) return undefined;
  if (facts.packageManager === undefined) return 'none of apt-get, apk and dnf is here';
  const name = program.packages[facts.packageManager];
  if (!facts.root) return `installing the package ${name} needs root`;
  return { kind: 'package', manager: facts.packageManager, name };
}

function maven(program: Program, facts: Facts): SourceStep | string | undefined {
  if (program.maven === undefined) return undefined;
  if (facts.javaMajor === undefined) return 'there is no Java to run it';
  if (facts.javaMajor < program.maven.minJava) return `Java is ${facts.javaMajor}, and ${program.maven.minJava} is needed`;
  if (!facts.maven) return 'there is no mvn to fetch it with';
  return { kind: 'maven', artifact: program.maven.artifact };
}
