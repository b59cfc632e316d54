// A whole fleet for a test: real NATS, Redis and Temporal on free ports, every service a process of its own, killed for real.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { createClient, type OperatorClient } from '../../cli/client.ts';
import { startReaper } from '../../infra/setup/reaper.ts';
import { loneSeat } from '../../infra/setup/seats.ts';
import { fleetSchema } from '../../lib/config/fleet.ts';
import type { InstanceRow, RequestRow, StatusReport } from '../../lib/operator/types.ts';
import type { AgentSeat, SeatInstance } from '../../lib/roles/agent-seat.ts';
import type { ServiceName } from '../../lib/run/service.ts';
import { eventually } from './eventually.ts';
import { plainAddress, startGuardedServers } from './guarded-servers.ts';
import { freePort, freePorts } from './ports.ts';
import { startTemporal, type TestServer } from './servers.ts';

const root = join(import.meta.dirname, '../..');

export interface FleetOptions {
  /** As in infra/config/fleet.yaml. One agent process for each instance. */
  readonly pools: readonly Record<string, unknown>[];
  /** Settings files by service, as in infra/config. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Services with more than one replica. */
  readonly replicas?: Readonly<Record<string, number>>;
  readonly env?: Readonly<Record<string, string>>;
  /** One agent process that carries every instance and can start more, instead of one for each. */
  readonly oneAgent?: boolean;
  /** The first replicas of these services run in one process, front-1. */
  readonly together?: readonly ServiceName[];
  /** By process id: how that process reaches NATS, given NATS' own address. */
  readonly busThrough?: Readonly<Record<string, (natsAddress: string) => Promise<string>>>;
}

export interface Fleet {
  /** Of the first gateway. */
  readonly gatewayUrl: string;
  /** One for each replica. */
  readonly gatewayUrls: readonly string[];
  readonly consoleUrl: string;
  readonly temporalAddress: string;
  readonly servers: { readonly nats: TestServer; readonly redis: TestServer; readonly temporal: TestServer };
  client(operator: string): OperatorClient;
  instances(): Promise<InstanceRow[]>;
  requests(all?: boolean): Promise<RequestRow[]>;
  services(): string[];
  /** The ids of a service's processes, or of all. */
  ids(service?: string): string[];
  pid(id: string): number;
  /** SIGKILL. Nothing restarts it. Resolves when it is gone. */
  kill(id: string): Promise<void>;
  /** SIGTERM. Resolves with the exit code when it has drained and ended. */
  terminate(id: string): Promise<number | null>;
  /** SIGSTOP: its connections stay open, and it says nothing. */
  freeze(id: string): void;
  thaw(id: string): void;
  /** Writes a service's settings file anew; running processes take what they can. */
  configure(service: string, settings: unknown): void;
  /** Starts a process again that has ended. */
  start(id: string): void;
  /** Resolves when every process is ready and every instance of the options healthy. */
  whole(): Promise<void>;
  /** What a process has printed, for a failing test's message. */
  log(id: string): string;
  stop(): Promise<void>;
}

export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-fleet-'));
  const config = join(folder, 'config');
  mkdirSync(config);
  writeFileSync(join(config, 'fleet.yaml'), stringify({ pools: options.pools }));
  const configure = (service: string, settings: unknown) => writeFileSync(join(config, `${service}.yaml`), stringify(settings));
  for (const [service, settings] of Object.entries(options.settings ?? {})) configure(service, settings);

  const wanted = options.pools.flatMap((pool) =>
    Array.from({ length: Number(pool.instances) }, (_, index) => ({ pool: String(pool.id), id: `${pool.id}-${index + 1}` })),
  );
  const known = fleetSchema.parse({ pools: options.pools });
  const seatOf = (instance: SeatInstance): AgentSeat => loneSeat(known, instance);
  const seats = options.oneAgent ? [] : wanted.map(seatOf);
  const [{ nats, redis, prepared }, temporal] = await Promise.all([startGuardedServers(join(folder, 'credentials'), seats), startTemporal()]);
  const gatewayPorts = await freePorts(options.replicas?.gateway ?? 1);
  const consolePort = await freePort();
  const common = {
    ...process.env,
    NATS_URL: plainAddress(nats),
    REDIS_URL: plainAddress(redis),
    TEMPORAL_ADDRESS: temporal.address,
    SWITCHYARD_CONFIG_DIR: config,
    SWITCHYARD_LOG_LEVEL: 'info',
    OTEL_TRACES_EXPORTER: 'none',
    NODE_COMPILE_CACHE: join(tmpdir(), 'switchyard-compile-cache'),
    ...options.env,
  };

  const commands = new Map<string, { service: string; env: Record<string, string> }>();
  const together = options.together ?? [];
  const front = { service: 'front', env: { SWITCHYARD_ID: 'front-1' } };
  if (together.length > 0) commands.set('front-1', front);
  const plan = (service: string, id: string, env: Record<string, string> = {}) => {
    if (id.endsWith('-1') && together.some((name) => name === service)) Object.assign(front.env, env);
    else commands.set(id, { service, env: { SWITCHYARD_ID: id, ...env } });
  };
  for (const service of ['instance-tracker', 'router', 'admission', 'migration-coordinator', 'autoscaler', 'worker'])
    for (let replica = 1; replica <= (options.replicas?.[service] ?? 1); replica++) plan(service, `${service}-${replica}`);
  for (const [index, port] of gatewayPorts.entries()) plan('gateway', `gateway-${index + 1}`, { SWITCHYARD_GATEWAY_PORT: String(port) });
  plan('console', 'console-1', { SWITCHYARD_CONSOLE_PORT: String(consolePort) });
  const placed = ({ pool, id }: SeatInstance) => `${pool}/${id}`;
  if (options.oneAgent) plan('agent', 'agent-1', { SWITCHYARD_AGENT_INSTANCES: wanted.map(placed).join(','), SWITCHYARD_AGENT_LAUNCHER: 'true' });
  for (const instance of options.oneAgent ? [] : wanted)
    plan('agent', `agent-${instance.id}`, {
      SWITCHYARD_AGENT_INSTANCES: placed(instance),
      SWITCHYARD_CREDENTIALS_FILE: prepared.seat(seatOf(instance)).path,
    });
  for (const [id, through] of Object.entries(options.busThrough ?? {})) commands.get(id)!.env.NATS_URL = await through(plainAddress(nats));

  const children = new Map<string, ChildProcess>();
  // An interrupted test or bench leaves nothing behind, however it was interrupted.
  const reaper = startReaper();
  const killAll = () => {
    for (const child of children.values()) child.kill('SIGKILL');
  };
  process.once('exit', killAll);
  function start(id: string): void {
    const command = commands.get(id);
    if (!command) throw new Error(`no process ${id}`);
    const out = openSync(join(folder, `${id}.log`), 'a');
    // Leads a group, so that its engines end with it.
    const isFront = command === front;
    const program = isFront ? ['cli/together.ts', ...together] : [`services/${command.service}/main.ts`];
    const credentials = prepared.credentialsPath((isFront ? '{service}' : command.service) as ServiceName);
    const started = spawn(process.execPath, program, {
      cwd: root,
      env: { ...common, SWITCHYARD_CREDENTIALS_FILE: credentials, ...command.env },
      stdio: ['ignore', out, out],
      detached: true,
    });
    children.set(id, started);
    reaper.add(started.pid!);
    started.once('exit', () => reaper.drop(started.pid!));
  }
  const log = (id: string) => readFileSync(join(folder, `${id}.log`), 'utf8');
  // Where the operator API wants keys, everybody here has the root key.
  const wantsKeys = (options.settings?.console as { auth?: string } | undefined)?.auth === 'keys';
  const key = wantsKeys ? readFileSync(prepared.rootKeyPath, 'utf8').trim() : undefined;
  const client = (operator: string) => createClient({ url: `http://127.0.0.1:${consolePort}`, operator, key, timeoutMs: 15_000 });
  const instances = () => client('test').get<InstanceRow[]>('/instances');

  async function stop(): Promise<void> {
    const running = [...children.values()].filter((child) => child.exitCode === null && child.signalCode === null);
    const ended = running.map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const child of running) child.kill('SIGKILL');
    process.off('exit', killAll);
    reaper.dismiss();
    await Promise.all(ended);
    await Promise.all([nats.stop(), redis.stop(), temporal.stop()]);
    if (process.env.SWITCHYARD_TEST_KEEP === 'true') console.log(`logs kept in ${folder}`);
    else rmSync(folder, { recursive: true, force: true });
  }

  function child(id: string): ChildProcess {
    const found = children.get(id);
    if (!found) throw new Error(`no process ${id}`);
    return found;
  }

  function end(id: string, signal: NodeJS.Signals): Promise<number | null> {
    const ending = child(id);
    if (ending.exitCode !== null || ending.signalCode !== null) return Promise.resolve(ending.exitCode);
    const ended = new Promise<number | null>((resolve) => ending.once('exit', resolve));
    ending.kill(signal);
    return ended;
  }

  /** Processes are told apart by their pids: one that has just ended may still be listed. */
  function whole(): Promise<void> {
    return eventually(`all ${commands.size} processes ready, ${wanted.length} instances healthy`, 120_000, async () => {
      for (const [id, { exitCode }] of children) if (exitCode !== null) throw new Error(`${id} exited with ${exitCode}:\n${log(id).slice(-2000)}`);
      const status = await client('test').get<StatusReport>('/status');
      const ready = Map.groupBy(
        status.services.filter((service) => service.ready),
        (service) => service.pid,
      );
      const servicesOf = (id: string) => (commands.get(id) === front ? together.length : 1);
      const late = [...children].filter(([id, { pid }]) => (ready.get(pid!)?.length ?? 0) < servicesOf(id)).map(([id]) => id);
      // Those that a test has cordoned or drained are whole too; one that loads its model is not.
      const here = (await instances()).filter((row) => row.health === 'healthy' && (row.accepting || row.cordoned || row.setAside !== ''));
      return { ok: late.length === 0 && here.length >= wanted.length, seen: { ...status, late } };
    });
  }

  for (const id of commands.keys()) start(id);
  try {
    await whole();
  } catch (thrown) {
    const tails = [...commands.keys()].map((id) => `--- ${id}\n${log(id).slice(-800)}`).join('\n');
    await stop();
    throw new Error(`${String(thrown)}\n${tails}`);
  }

  return {
    gatewayUrl: `http://127.0.0.1:${gatewayPorts[0]}`,
    gatewayUrls: gatewayPorts.map((port) => `http://127.0.0.1:${port}`),
    consoleUrl: `http://127.0.0.1:${consolePort}`,
    temporalAddress: temporal.address,
    servers: { nats, redis, temporal },
    client,
    instances,
    requests: (all = false) => client('test').get<RequestRow[]>(`/requests?all=${all}`),
    services: () => [...new Set([...commands.values()].map(({ service }) => service))],
    ids: (service) => [...commands].filter(([, command]) => service === undefined || command.service === service).map(([id]) => id),
    pid: (id) => child(id).pid!,
    async kill(id) {
      await end(id, 'SIGKILL');
    },
    terminate: (id) => end(id, 'SIGTERM'),
    freeze: (id) => void child(id).kill('SIGSTOP'),
    thaw: (id) => void child(id).kill('SIGCONT'),
    whole,
    configure,
    start,
    log,
    stop,
  };
}
