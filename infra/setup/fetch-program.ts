// The ways to get a program: the official release, a Go build, Maven, the distribution's package. Each makes the
// program in a scratch folder (the package manager: where it likes) and says what it is doing.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PackageManager, Platform, Program, Release } from './programs.ts';
import type { ProgressStep } from './progress.ts';

/** Without network this is how long it takes to find out. */
const connectTimeoutMs = 5_000;
/** A download that brings nothing for this long is given up. */
const stallTimeoutMs = 15_000;
const maxDownloadBytes = 512 * 1024 * 1024;
/** Lines of a failed command that are repeated in the message. */
const tailLines = 12;

/** The official release, its checksum verified before anything is unpacked or run. */
export async function downloadRelease(program: Program, scratch: string, step: ProgressStep): Promise<string> {
  const release = program.release as Release;
  const platform = `${process.platform}-${process.arch}` as Platform;
  const url = release.url(platform) as string;
  const member = release.member(platform);
  const wanted = release.pinned[platform];
  step.doing('downloading the official release');
  // The sums come first: they are small, so a missing network is noticed at once.
  const sums = wanted === undefined && release.sums ? (await download(release.sums.url(platform))).toString('utf8') : undefined;
  const archive = await download(url, (bytes) => step.doing(`downloading the official release, ${Math.round(bytes / 1e6)} MB`));
  const archiveName = url.slice(url.lastIndexOf('/') + 1);
  if (wanted !== undefined) verify(archiveName, archive, wanted);
  else if (release.sums?.of === 'archive') verify(archiveName, archive, sumFor(sums ?? '', archiveName));
  const path = join(scratch, 'archive.tar.gz');
  writeFileSync(path, archive);
  execFileSync('tar', ['-xzf', path, '-C', scratch, member], { stdio: ['ignore', 'ignore', 'pipe'] });
  const extracted = join(scratch, member);
  if (wanted === undefined && release.sums?.of === 'member') verify(member, readFileSync(extracted), sumFor(sums ?? '', member));
  return extracted;
}

/** The SHA-256 of `name` in a list as sha256sum writes it. @throws Error when it is not listed */
export function sumFor(sums: string, name: string): string {
  for (const line of sums.split('\n')) {
    const [sum, listed] = line.trim().split(/\s+\*?/);
    if (listed === name && sum && /^[0-9a-f]{64}$/.test(sum)) return sum;
  }
  throw new Error(`the list of checksums has no line for ${name}`);
}

function verify(name: string, bytes: Buffer, wanted: string): void {
  const sum = createHash('sha256').update(bytes).digest('hex');
  if (sum !== wanted) throw new Error(`${name} has the checksum ${sum} instead of ${wanted}: not used`);
}

async function download(url: string, progress?: (bytes: number) => void): Promise<Buffer> {
  const control = new AbortController();
  let timer = setTimeout(() => control.abort(new Error(`no answer within ${connectTimeoutMs / 1000} s`)), connectTimeoutMs);
  try {
    const response = await fetch(url, { signal: control.signal, redirect: 'follow' });
    if (!response.ok || response.body === null) throw new Error(`HTTP ${response.status}`);
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for await (const part of response.body) {
      clearTimeout(timer);
      timer = setTimeout(() => control.abort(new Error(`nothing came for ${stallTimeoutMs / 1000} s`)), stallTimeoutMs);
      parts.push(part);
      bytes += part.length;
      if (bytes > maxDownloadBytes) throw new Error(`larger than ${maxDownloadBytes / 1024 / 1024} MiB`);
      progress?.(bytes);
    }
    return Buffer.concat(parts);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : undefined;
    throw new Error(cause ?? (error instanceof Error ? error.message : String(error)));
  } finally {
    clearTimeout(timer);
  }
}

/** `go install` into the scratch folder. The checksum database of Go vouches for the sources. */
export async function goInstall(
  build: { target: string; takes: string },
  scratch: string,
  env: NodeJS.ProcessEnv,
  step: ProgressStep,
): Promise<string> {
  const what = `building with Go, ${build.takes} the first time`;
  step.doing(what);
  let packages = 0;
  const flags = (env.GOFLAGS ?? '').split(' ').filter((flag) => flag !== '' && !flag.startsWith('-mod'));
  await command('go', ['install', '-v', build.target], {
    env: { ...env, GOBIN: scratch, CGO_ENABLED: '0', GOFLAGS: flags.join(' '), GOWORK: 'off', GOOS: '', GOARCH: '' },
    cwd: scratch,
    onLine: () => {
      packages += 1;
      step.doing(`${what}: ${packages} packages`);
    },
  });
  const module = build.target.slice(0, build.target.lastIndexOf('@'));
  // Go names the program after the last part of its path that is not a major version.
  const name = module.split('/').findLast((part) => !/^v\d+$/.test(part)) as string;
  return join(scratch, name);
}

/** A jar of Maven Central, through the mvn client and its settings. */
export async function mavenCopy(program: Program, scratch: string, step: ProgressStep): Promise<string> {
  const { artifact, file } = program.maven as NonNullable<Program['maven']>;
  step.doing('fetching from Maven Central with mvn, about 130 MB');
  await command('mvn', ['-B', '-q', 'dependency:copy', `-Dartifact=${artifact}`, `-DoutputDirectory=${scratch}`, '-Dmdep.useBaseVersion=true'], {
    env: process.env,
    cwd: scratch,
  });
  return join(scratch, file);
}

/** The distribution's package. The list of packages is refreshed only when the package is not known. */
export async function distributionPackage(manager: PackageManager, name: string, step: ProgressStep): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const install = { 'apt-get': ['install', '-y', '--no-install-recommends', name], apk: ['add', name], dnf: ['install', '-y', name] }[manager];
  const refresh = { 'apt-get': ['update'], apk: ['update'], dnf: ['makecache'] }[manager];
  step.doing(`installing the package ${name} with ${manager}`);
  try {
    await command(manager, install, { env, cwd: '/' });
  } catch {
    step.doing(`refreshing the package list of ${manager}`);
    await command(manager, refresh, { env, cwd: '/' });
    step.doing(`installing the package ${name} with ${manager}`);
    await command(manager, install, { env, cwd: '/' });
  }
}

interface CommandOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  readonly onLine?: (line: string) => void;
}

/** Runs a command quietly. @throws Error with its last lines when it fails */
function command(name: string, args: readonly string[], options: CommandOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(name, args, { env: options.env, cwd: options.cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    const tail: string[] = [];
    const listen = (stream: NodeJS.ReadableStream) => {
      let rest = '';
      stream.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines.filter((one) => one.trim() !== '')) {
          tail.push(line);
          if (tail.length > tailLines) tail.shift();
          options.onLine?.(line);
        }
      });
    };
    listen(child.stdout);
    listen(child.stderr);
    child.on('error', (error) => reject(new Error(`${name} could not be run: ${error.message}`)));
    child.on('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`${name} ended with ${signal ?? `code ${code}`}:\n      ${tail.join('\n      ')}`));
    });
  });
}
