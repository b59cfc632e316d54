// Starts NATS, Redis and Temporal, or finds those that the environment names, and waits until each answers.
import { setTimeout as pause } from 'node:timers/promises';
import type { AgentSeat } from '../../lib/roles/agent-seat.ts';
import { credentialsFolder, type Prepared, prepareCredentials } from './credentials.ts';
import { freePortFrom, holderOf, isFree, PortTakenError } from './listening-port.ts';
import type { ProcessTable } from './process-table.ts';
import type { Progress } from './progress.ts';
import { type Provided, provideAll } from './provide.ts';
import { nats, redis, type Server, servers, temporal, UnsuitableError } from './servers.ts';
import { type PortName, type StartSettings, sharing } from './settings.ts';
import { compareVersions } from './version.ts';

/** A server that somebody else runs is given this long to answer. */
const externalTimeoutMs = 5_000;
/** One of ours may have a log to read first. */
const ownTimeoutMs = 30_000;
const pollMs = 50;

export interface RunningServers {
  /** For the environment of services: NATS_URL and so on. */
  readonly addresses: Readonly<Record<string, string>>;
  /** Undefined: Temporal runs elsewhere. */
  readonly temporalUiUrl: string | undefined;
  /** What processes prove themselves with. */
  readonly prepared: Prepared;
  /** Resolves when all answer. What services cannot do without at their start (NATS, Redis) answers already. */
  readonly settled: Promise<void>;
}

/** `seats`: agents with users of their own. Programs are fetched meanwhile. */
export async function startServers(
  settings: StartSettings,
  table: ProcessTable,
  progress: Progress,
  seats: Promise<readonly AgentSeat[]>,
): Promise<RunningServers> {
  // A failure is told when it is waited for.
  seats.catch(() => {});
  const provided = await provideServers(settings, progress);
  const ports = await choosePorts(settings, provided, progress);
  const prepared = prepareCredentials(credentialsFolder(settings), {
    nats: provided.has(nats.id),
    redis: provided.has(redis.id),
    seats: await seats,
    readOnlyKeys: compareVersions(provided.get(redis.id)?.version ?? '0', '7.0.0') >= 0,
  });
  const addresses: Record<string, string> = {};
  const waits = servers.map((server) => {
    const program = provided.get(server.id);
    const external = settings.env[server.variable];
    if (!program) {
      addresses[server.variable] = external as string;
      return { server, wait: waitForExternal(server, external as string, progress) };
    }
    addresses[server.variable] = server.addressOf(server.bindHost(settings.host), ports[server.portName]);
    return { server, wait: startOwn(server, program, settings, ports, prepared, table, progress) };
  });
  const all = Promise.all(waits.map(({ wait }) => wait));
  // A failure is reported by whoever awaits `settled`; until then it is nobody's.
  all.catch(() => {});
  await Promise.all(waits.filter(({ server }) => server !== temporal).map(({ wait }) => wait));
  return {
    addresses,
    prepared,
    temporalUiUrl: provided.has(temporal.id) ? `http://${temporal.bindHost(settings.host)}:${ports.temporalUi}` : undefined,
    settled: all.then(() => undefined),
  };
}

async function provideServers(settings: StartSettings, progress: Progress): Promise<Map<string, Provided>> {
  const wanted = servers.filter((server) => !settings.env[server.variable]);
  const provided = await provideAll(
    wanted.map((server) => server.program),
    { progress, env: settings.env },
  );
  return new Map(wanted.map((server, index) => [server.id, provided[index] as Provided]));
}

/**
 * A port that somebody chose must be free; a default that is taken gives way to the next free one, because people
 * often have a Redis running and the address is only known to our own services.
 */
async function choosePorts(settings: StartSettings, provided: ReadonlyMap<string, Provided>, progress: Progress): Promise<Record<PortName, number>> {
  const ports = Object.fromEntries(Object.entries(settings.ports).map(([name, setting]) => [name, setting.port])) as Record<PortName, number>;
  const names = servers.filter((server) => provided.has(server.id)).map((server) => server.portName);
  if (provided.has(temporal.id)) names.push('temporalUi');
  for (const name of names) {
    const setting = settings.ports[name];
    const claimed = sharing(settings.ports, name);
    const others = new Set(Object.values(ports));
    if (!claimed && (await isFree(settings.host, setting.port))) continue;
    if (setting.chosen) throw new PortTakenError(name, setting.port, setting.flag, setting.variable);
    const holder = holderOf(setting.port);
    ports[name] = await freePortFrom(settings.host, setting.port + 1, others);
    const by = claimed ? `--${claimed.flag}` : holder ? `process ${holder.pid} (${holder.command.slice(0, 60)})` : 'another process';
    progress.say(`  port ${setting.port} is taken by ${by}: using ${ports[name]} for ${name}`);
  }
  return ports;
}

async function waitForExternal(server: Server, address: string, progress: Progress): Promise<void> {
  const step = progress.step(server.id, `${server.variable} is ${redacted(address)}`);
  try {
    const { host, port } = server.parse(address);
    const said = await answer(server, host, port, externalTimeoutMs, () => undefined);
    step.done(`${said} at ${redacted(address)}, from ${server.variable}`.trim());
  } catch (error) {
    step.failed(`${server.variable} is ${redacted(address)}, and nothing suitable answers there: ${(error as Error).message}`);
    throw new Error(`${server.variable} names a server that cannot be used. Correct it, or unset it to have one started.`);
  }
}

/** Addresses may carry a password. */
function redacted(address: string): string {
  return address.replace(/\/\/[^@/]*@/, '//…@');
}

async function startOwn(
  server: Server,
  program: Provided,
  settings: StartSettings,
  ports: Readonly<Record<PortName, number>>,
  prepared: Prepared,
  table: ProcessTable,
  progress: Progress,
): Promise<void> {
  const port = ports[server.portName];
  const step = progress.step(server.id, `starting ${program.version}, ${program.from}`);
  const started = table.start({
    id: server.id,
    command: program.path,
    args: server.args(settings, ports, prepared),
    cwd: settings.root,
    env: server.environment?.(settings.env) ?? settings.env,
  });
  try {
    await answer(server, server.bindHost(settings.host), port, ownTimeoutMs, () =>
      started.crashes() >= 3 ? 'it crashes again and again' : undefined,
    );
    step.done(`${program.version} ${program.from}, port ${port}`);
  } catch (error) {
    step.failed((error as Error).message);
    throw new Error(`${server.program} could not be started. The end of ${started.logPath}:\n${started.tail().slice(-8).join('\n')}`);
  }
}

async function answer(server: Server, host: string, port: number, withinMs: number, hopeless: () => string | undefined): Promise<string> {
  const untilMs = Date.now() + withinMs;
  for (;;) {
    try {
      return await server.probe(host, port);
    } catch (error) {
      const reason = hopeless();
      if (reason !== undefined) throw new Error(reason);
      if (error instanceof UnsuitableError || Date.now() >= untilMs) throw error;
      await pause(pollMs);
    }
  }
}
