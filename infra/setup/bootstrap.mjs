// Runs a TypeScript entry of this repository on a machine that has only some Node (16 or later) and npm:
// installs the dependencies when they are missing or not those of package-lock.json, then runs the entry on the Node 24
// that came as one of them. Plain JavaScript of the old Node's time, no dependency.
//
//   node infra/setup/bootstrap.mjs cli/start.ts --help
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import module from 'node:module';
import { constants } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const compileCache = join(root, 'node_modules/.cache/compile');
const ownNode = join(root, 'node_modules/.bin/node');
const neededMajor = 24;
const minMajor = 16;

class SetupError extends Error {}

/** Why the installed packages are not those of package-lock.json; undefined when they are. */
export function staleDependencies(lockText, installedText) {
  if (installedText === undefined) return 'they are not installed yet';
  const wanted = JSON.parse(lockText).packages;
  const installed = JSON.parse(installedText).packages;
  for (const path of Object.keys(wanted)) {
    if (path === '') continue;
    const there = installed[path];
    if (there === undefined && !wanted[path].optional) return `${path.replace(/^.*node_modules\//, '')} is missing`;
    if (there !== undefined && there.version !== wanted[path].version) return 'package-lock.json has changed';
  }
  return undefined;
}

function readIfThere(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

/** Prints a line while `npm ci` runs, and its own words only when it fails. */
async function install(reason) {
  const begin = Date.now();
  const seconds = () => Math.round((Date.now() - begin) / 1000);
  const live = process.stderr.isTTY && process.env.CI === undefined;
  const line = `  dependencies      installing with npm ci (${reason})`;
  process.stderr.write(live ? line : `${line}\n`);
  const ticker = live ? setInterval(() => process.stderr.write(`\r${line} ${seconds()} s `), 1000) : undefined;
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const output = [];
  const code = await new Promise((done) => {
    const child = spawn(npm, ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      shell: process.platform === 'win32',
      env: { ...process.env, NODE_ENV: 'development' },
    });
    child.stdout.on('data', (bytes) => output.push(bytes));
    child.stderr.on('data', (bytes) => output.push(bytes));
    child.on('error', (error) => {
      output.push(Buffer.from(error.code === 'ENOENT' ? 'there is no npm on PATH: install Node.js with npm' : String(error)));
      done(1);
    });
    child.on('close', done);
  });
  clearInterval(ticker);
  if (code !== 0) {
    const said = Buffer.concat(output).toString('utf8').trimEnd().split('\n').slice(-30).join('\n');
    throw new SetupError(
      `\n${said}\n\nThe dependencies could not be installed. Run \`npm ci\` in ${root} to see all of it; the usual causes are no network, a proxy that npm does not know, or a full disk.`,
    );
  }
  process.stderr.write(live ? `\r\x1b[2K  dependencies      installed in ${seconds()} s\n` : `  dependencies      installed in ${seconds()} s\n`);
}

function nodeVersion(path) {
  const asked = spawnSync(path, ['--version'], { encoding: 'utf8' });
  return asked.status === 0 ? asked.stdout.trim() : undefined;
}

function majorOf(version) {
  return Number(/^v?(\d+)/.exec(version || '')?.[1] ?? 0);
}

/** The Node that came with the dependencies, or the one that runs this when it is recent enough. */
function findNode() {
  if (majorOf(process.version) >= neededMajor) return process.execPath;
  const version = existsSync(ownNode) ? nodeVersion(ownNode) : undefined;
  if (majorOf(version) >= neededMajor) return ownNode;
  throw new SetupError(
    existsSync(ownNode)
      ? `The Node ${neededMajor} among the dependencies does not run on this machine (${process.platform} ${process.arch}). Install Node ${neededMajor} or later and try again.`
      : `The package "node" has no Node ${neededMajor} for this machine (${process.platform} ${process.arch}), or npm was told to ignore install scripts. Install Node ${neededMajor} or later and try again.`,
  );
}

/** Makes `npx switchyard` find the command of this checkout without installing anything. */
function linkCommand() {
  const link = join(root, 'node_modules/.bin/switchyard');
  if (process.platform === 'win32' || existsSync(link)) return;
  try {
    rmSync(link, { force: true });
    symlinkSync('../../infra/setup/switchyard.mjs', link);
  } catch {
    // A read-only checkout: `npm run switchyard --` does the same.
  }
}

/** Hands over to another Node and ends as it ends. Signals go to the child; this process waits for it. */
function runIn(node, entry, args) {
  const child = spawn(node, [join(root, entry), ...args], { stdio: 'inherit', env: process.env });
  // Ctrl-C reaches the child through the terminal as well; it counts a second one within a moment as the same.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  return new Promise((done, failed) => {
    child.on('error', failed);
    child.on('exit', (code, signal) => done(signal ? 128 + (constants.signals[signal] || 0) : code));
  });
}

/** Runs `entry` (a path below the repository's root) with the arguments. */
export async function bootstrap(entry, args) {
  if (majorOf(process.version) < minMajor) {
    throw new SetupError(
      `Node ${process.version} is too old to begin with: ${minMajor} or later is needed (${neededMajor} comes with the dependencies).`,
    );
  }
  // For "ready in": what a person has waited, the installing included.
  process.env.SWITCHYARD_BEGAN_AT_MS = process.env.SWITCHYARD_BEGAN_AT_MS || String(Date.now());
  const lock = readFileSync(join(root, 'package-lock.json'), 'utf8');
  const reason = staleDependencies(lock, readIfThere(join(root, 'node_modules/.package-lock.json')));
  if (reason !== undefined) await install(reason);
  linkCommand();
  const node = findNode();
  mkdirSync(compileCache, { recursive: true });
  process.env.NODE_COMPILE_CACHE = process.env.NODE_COMPILE_CACHE || compileCache;
  process.env.PATH = `${join(root, 'node_modules/.bin')}:${process.env.PATH || ''}`;
  if (node !== process.execPath) {
    process.exitCode = await runIn(node, entry, args);
    return;
  }
  // `… | head`: the reader has left, which is no failure of ours.
  process.stdout.on('error', (error) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
  module.enableCompileCache?.(process.env.NODE_COMPILE_CACHE);
  process.argv = [process.execPath, join(root, entry), ...args];
  await import(pathToFileURL(join(root, entry)).href);
}

/** Runs `entry`; a failure of the setting up is told in words, without a stack. */
export async function main(entry, args) {
  try {
    await bootstrap(entry, args);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}

const invoked = process.argv[1] === undefined ? undefined : realpathSync(process.argv[1]);
if (invoked === fileURLToPath(import.meta.url)) {
  const [entry, ...args] = process.argv.slice(2);
  if (entry === undefined) {
    process.stderr.write('usage: node infra/setup/bootstrap.mjs <entry.ts> [arguments]\n');
    process.exitCode = 2;
  } else await main(entry, args);
}
