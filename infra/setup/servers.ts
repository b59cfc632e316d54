// NATS, Redis and Temporal for `npm start`: with which arguments they run, where they keep their data, and how to tell
// that one answers. An address in the environment means that somebody else runs it.
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { isLoopback } from '../../lib/net/loopback.ts';
import { searchAttributeTypes } from '../../lib/workflows/workflow-search.ts';
import type { Prepared } from './credentials.ts';
import type { ProgramName } from './programs.ts';
import type { PortName, StartSettings } from './settings.ts';
import { compareVersions } from './version.ts';

export interface Server {
  readonly id: string;
  readonly program: ProgramName;
  /** Whose value is the address. */
  readonly variable: string;
  readonly defaultPort: number;
  readonly portName: PortName;
  /** Where it listens, when the rest does on `host`. */
  bindHost(host: string): string;
  addressOf(host: string, port: number): string;
  /** Host and port in an address of the environment. @throws Error when it is none */
  parse(address: string): { host: string; port: number };
  args(settings: StartSettings, ports: Readonly<Record<PortName, number>>, prepared: Prepared): readonly string[];
  /** Its environment, where it is not ours as it is. */
  environment?(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv;
  /** What the server says of itself when it answers; throws while it does not. */
  probe(host: string, port: number): Promise<string>;
}

const probeTimeoutMs = 1_500;

function parseUrl(address: string, defaultPort: number): { host: string; port: number } {
  const url = new URL(address.includes('://') ? address : `tcp://${address}`);
  if (url.hostname === '') throw new Error(`${address} names no host`);
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? defaultPort : Number(url.port) };
}

/** Connects, writes, and resolves with what came until `enough` says so. */
function exchange(host: string, port: number, write: string, enough: (text: string) => boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    let text = '';
    const finish = (error?: Error) => {
      socket.destroy();
      if (error) reject(error);
      else resolve(text);
    };
    socket.setTimeout(probeTimeoutMs, () => finish(new Error('no answer')));
    socket.on('error', finish);
    socket.on('close', () => finish(new Error('closed the connection')));
    socket.on('connect', () => {
      if (write !== '') socket.write(write);
      if (enough('')) finish();
    });
    socket.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      if (enough(text)) finish();
    });
  });
}

/** Of two cores one is enough for it: threads that look for work on both cost it a third more CPU time for each message. */
export function natsEnvironment(env: NodeJS.ProcessEnv, cores = availableParallelism()): NodeJS.ProcessEnv {
  return cores > 2 ? env : { GOMAXPROCS: '1', ...env };
}

function inState(settings: StartSettings, ...path: string[]): string {
  const folder = join(settings.stateFolder, ...path);
  mkdirSync(folder, { recursive: true });
  return folder;
}

export const nats: Server = {
  id: 'nats',
  program: 'nats-server',
  variable: 'NATS_URL',
  defaultPort: 4222,
  portName: 'nats',
  bindHost: (host) => host,
  addressOf: (host, port) => `nats://${host}:${port}`,
  parse: (address) => parseUrl(address.split(',')[0] as string, 4222),
  args: (settings, ports, { natsConfigPath }) => [
    ...['--config', natsConfigPath, '--addr', settings.host, '--port', String(ports.nats)],
    ...['--jetstream', '--store_dir', inState(settings, 'nats')],
  ],
  environment: (env) => natsEnvironment(env),
  async probe(host, port) {
    const greeting = await exchange(host, port, '', (text) => text.includes('\r\n'));
    const info = JSON.parse(/^INFO (\{.*\})/.exec(greeting)?.[1] ?? '{}') as { version?: string; jetstream?: boolean };
    if (info.version === undefined) throw new Error('it does not speak NATS');
    if (compareVersions(info.version, '2.11.0') < 0) throw new UnsuitableError(`it is NATS ${info.version}, and 2.11 is needed`);
    if (!info.jetstream) throw new UnsuitableError('its JetStream is switched off');
    return info.version;
  },
};

export const redis: Server = {
  id: 'redis',
  program: 'redis-server',
  variable: 'REDIS_URL',
  defaultPort: 6379,
  portName: 'redis',
  bindHost: (host) => host,
  addressOf: (host, port) => `redis://${host}:${port}`,
  parse: (address) => parseUrl(address, 6379),
  args: (settings, ports, { redisAclPath }) => [
    ...['--bind', settings.host, '--port', String(ports.redis), '--dir', inState(settings, 'redis')],
    ...['--appendonly', 'yes', '--save', '', '--daemonize', 'no', '--aclfile', redisAclPath],
    // It would refuse everybody beyond loopback because one user has no password: the one that may only ask whether Redis is there.
    ...['--protected-mode', 'no'],
  ],
  async probe(host, port) {
    const answer = await exchange(host, port, 'PING\r\n', (text) => text.includes('\r\n'));
    // One that asks for a password answers, and the services have it from REDIS_URL.
    if (!answer.startsWith('+PONG') && !answer.startsWith('-NOAUTH')) throw new Error(answer.trim());
    return '';
  },
};

export const temporal: Server = {
  id: 'temporal',
  program: 'temporal',
  variable: 'TEMPORAL_ADDRESS',
  defaultPort: 7233,
  portName: 'temporal',
  // The development server lets everybody do everything.
  bindHost: loopbackOf,
  addressOf: (host, port) => `${host}:${port}`,
  parse: (address) => parseUrl(address, 7233),
  args: (settings, ports) => [
    'server',
    'start-dev',
    '--ip',
    temporal.bindHost(settings.host),
    '--ui-ip',
    temporal.bindHost(settings.host),
    '--port',
    String(ports.temporal),
    '--ui-port',
    String(ports.temporalUi),
    '--db-filename',
    join(inState(settings, 'temporal'), 'temporal.db'),
    '--namespace',
    settings.env.TEMPORAL_NAMESPACE || 'default',
    // Where people can look for a workflow by what it is about; services would tell a server that is there already.
    ...Object.entries(searchAttributeTypes).flatMap(([name, type]) => ['--search-attribute', `${name}=${type}`]),
    // Saves a round trip per activity: 250 ms instead of 450 for four of them.
    '--dynamic-config-value',
    'system.enableActivityEagerExecution=true',
    '--log-level',
    'error',
  ],
  async probe(host, port) {
    await exchange(host, port, '', () => true);
    return '';
  },
};

/** For what lets everybody who reaches it do everything: this machine alone. */
export function loopbackOf(host: string): string {
  return isLoopback(host) ? host : '127.0.0.1';
}

export const servers = [nats, redis, temporal] as const;

/** It answers, and waiting will not make it suitable. */
export class UnsuitableError extends Error {}
