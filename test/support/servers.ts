// Real servers for tests: each on free loopback ports with data of its own, ready when the function returns, gone when
// the test process is, however it ends.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect as dial } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ProgramName } from '../../infra/setup/programs.ts';
import type { Progress } from '../../infra/setup/progress.ts';
import { provide } from '../../infra/setup/provide.ts';
import { type Reaper, startReaper } from '../../infra/setup/reaper.ts';
import { nats, natsEnvironment, redis } from '../../infra/setup/servers.ts';
import { eventually } from './eventually.ts';
import { freePorts } from './ports.ts';

export interface TestServer {
  /** As the services' settings want it, for example nats://127.0.0.1:41000 */
  readonly address: string;
  readonly port: number;
  /** Of the running process; a new one after `restart`. */
  readonly pid: number;
  /** Its data, for tests that change them while it does not run. */
  readonly dataFolder: string;
  /** SIGTERM, then removes the data. */
  stop(): Promise<void>;
  /** SIGKILL; the data stays. Resolves when the process is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same port and data, stopping it first when it runs. Resolves when it answers. */
  restart(options?: { wipe?: boolean }): Promise<void>;
  /** SIGSTOP: connections stay open and nothing answers. Resolves when the process stands still. */
  pause(): Promise<void>;
  resume(): void;
}

interface Plan {
  readonly program: ProgramName;
  readonly ports: readonly number[];
  readonly address: string;
  readonly env?: NodeJS.ProcessEnv;
  args(folder: string): string[];
  ready(path: string): Promise<unknown>;
}

const readyWithinMs = 30_000;
const run = promisify(execFile);
const running = new Set<ChildProcess>();
const folders = new Set<string>();
let reaper: Reaper | undefined;

process.once('exit', () => {
  for (const child of running) signal(child, 'SIGKILL');
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

export interface Guarded {
  /** A configuration file for nats-server, an ACL file for redis-server. */
  readonly file: string;
  /** user:password, in it, of somebody who may do everything; part of `address`. */
  readonly login: string;
}

/** Open to everybody unless `guarded`. */
export function startNats(guarded?: Guarded): Promise<TestServer> {
  return startServer(1, ([port = 0]) => ({
    program: 'nats-server',
    ports: [port],
    address: `nats://${guarded ? `${guarded.login}@` : ''}127.0.0.1:${port}`,
    env: natsEnvironment(process.env),
    args: (folder) => [
      ...(guarded ? ['--config', guarded.file] : []),
      ...['--addr', '127.0.0.1', '--port', String(port), '--jetstream', '--store_dir', folder],
    ],
    ready: () => nats.probe('127.0.0.1', port),
  }));
}

/** Open to everybody unless `guarded`; with `tls` (files) over TLS alone. */
export function startRedis(guarded?: Guarded & { tls?: { cert: string; key: string; ca: string } }): Promise<TestServer> {
  const tls = guarded?.tls;
  const secure = (port: number) =>
    tls ? ['--tls-port', String(port), '--tls-cert-file', tls.cert, '--tls-key-file', tls.key, '--tls-ca-cert-file', tls.ca] : [];
  return startServer(1, ([port = 0]) => ({
    program: 'redis-server',
    ports: [port],
    address: `${tls ? 'rediss' : 'redis'}://${guarded ? `${guarded.login}@` : ''}127.0.0.1:${port}`,
    args: (folder) => [
      ...[
        '--bind',
        '127.0.0.1',
        '--port',
        String(tls ? 0 : port),
        ...secure(port),
        '--dir',
        folder,
        '--appendonly',
        'yes',
        '--save',
        '',
        '--daemonize',
        'no',
      ],
      ...(guarded ? ['--aclfile', guarded.file] : []),
    ],
    // Over TLS that it takes connections is all that can be told without a certificate.
    ready: () => (tls ? accepts(port) : redis.probe('127.0.0.1', port)),
  }));
}

function accepts(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = dial(port, '127.0.0.1', () => {
      socket.destroy();
      resolve();
    });
    socket.once('error', reject);
  });
}

/** With the namespace "default". `uiPort` follows `port`. */
export async function startTemporal(): Promise<TestServer & { readonly uiPort: number }> {
  let uiPort = 0;
  const server = await startServer(3, (ports) => {
    const [port = 0, ui = 0, metrics = 0] = ports;
    uiPort = ui;
    const address = `127.0.0.1:${port}`;
    return {
      program: 'temporal',
      ports,
      address,
      args: (folder) => [
        ...['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--ui-port', String(ui), '--metrics-port', String(metrics)],
        ...['--db-filename', join(folder, 'temporal.db'), '--log-level', 'error'],
        ...['--dynamic-config-value', 'system.enableActivityEagerExecution=true'],
      ],
      // The port is open before the namespace is there.
      ready: (path) => run(path, ['operator', 'namespace', 'describe', '--namespace', 'default', '--address', address], { timeout: 5_000 }),
    };
  });
  return Object.assign(server, { uiPort });
}

/** Temporal chooses ports for its parts itself, which somebody may take before it uses them: it is started anew then. */
const attempts = 3;

async function startServer(ports: number, planOn: (ports: readonly number[]) => Plan): Promise<TestServer> {
  const plan = planOn(await freePorts(ports));
  const { path } = await provide(plan.program, { progress: silent });
  const folder = mkdtempSync(join(tmpdir(), `switchyard-${plan.program}-`));
  const logFile = join(folder, 'server.log');
  const dataFolder = mkdtempSync(join(folder, 'data-'));
  folders.add(folder);
  let child = await start();

  async function start(attempt = 1): Promise<ChildProcess> {
    try {
      return await startOnce();
    } catch (thrown) {
      if (attempt === attempts || !/address already in use/i.test(String(thrown))) throw thrown;
      return start(attempt + 1);
    }
  }

  async function startOnce(): Promise<ChildProcess> {
    // A group of its own, so that Ctrl-C reaches the test first and the reaper can end all of it.
    const started = spawn(path, plan.args(dataFolder), { detached: true, env: plan.env ?? process.env, stdio: ['ignore', 'pipe', 'pipe'] });
    writeFileSync(logFile, '');
    const keep = (part: Buffer) => writeFileSync(logFile, part, { flag: 'a' });
    started.stdout?.on('data', keep);
    started.stderr?.on('data', keep);
    running.add(started);
    reaper ??= startReaper();
    if (started.pid !== undefined) reaper.add(started.pid);
    started.once('exit', () => {
      running.delete(started);
      if (started.pid !== undefined) reaper?.drop(started.pid);
      if (running.size > 0) return;
      reaper?.dismiss();
      reaper = undefined;
    });
    await eventually(`${plan.program} answers on ${plan.address}`, readyWithinMs, async () => {
      if (started.exitCode !== null)
        throw new Error(`${plan.program} exited with ${started.exitCode}:\n${readFileSync(logFile, 'utf8').slice(-2000)}`);
      await plan.ready(path);
      return { ok: true, seen: 'answer' };
    });
    return started;
  }

  async function end(how: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    signal(child, how);
    // One that is paused or hangs does not hear SIGTERM.
    const insist = setTimeout(() => signal(child, 'SIGKILL'), 5_000);
    await ended;
    clearTimeout(insist);
  }

  return {
    address: plan.address,
    port: plan.ports[0]!,
    dataFolder,
    get pid() {
      return child.pid!;
    },
    async stop() {
      await end('SIGTERM');
      rmSync(folder, { recursive: true, force: true });
      folders.delete(folder);
    },
    kill: () => end('SIGKILL'),
    async restart(options = {}) {
      await end('SIGTERM');
      if (options.wipe) {
        rmSync(dataFolder, { recursive: true, force: true });
        mkdirSync(dataFolder);
      }
      child = await start();
    },
    async pause() {
      signal(child, 'SIGSTOP');
      await eventually(`${plan.program} stands still`, 5_000, async () => {
        const { stdout } = await run('ps', ['-o', 'stat=', '-p', String(child.pid)]);
        return { ok: stdout.trim().startsWith('T'), seen: stdout };
      });
    },
    resume: () => signal(child, 'SIGCONT'),
  };
}

function signal(child: ChildProcess, name: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, name);
  } catch {
    // Gone already.
  }
}

const silentStep = { doing() {}, done() {}, skipped() {}, failed() {} };
const silent: Progress = { step: () => silentStep, say() {}, close() {} };
