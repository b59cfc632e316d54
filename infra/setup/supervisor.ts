// Everything that `npm start` runs on this machine: servers, services, agents and the tracing UI, started in order of
// need and stopped in the reverse order.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { connectNatsBus } from '../../lib/bus/nats-bus.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import type { FleetConfig } from '../../lib/config/fleet.ts';
import { readTls } from '../../lib/net/tls.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import { systemRng } from '../../lib/rng/system-rng.ts';
import { inboxPrefixOf } from '../../lib/roles/nats-permissions.ts';
import type { UserName } from '../../lib/roles/roles.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import type { Instance } from './launcher.ts';
import { isFree, PortTakenError } from './listening-port.ts';
import { prepareEngines } from './prepare-engines.ts';
import { createProcessTable, type ProcessTable } from './process-table.ts';
import type { Progress } from './progress.ts';
import { type RunFile, removeRunFile, writeRunFile } from './run-file.ts';
import { loneSeat, seatsOf } from './seats.ts';
import { createLauncher, type Launcher } from './serve-launcher.ts';
import { nats, servers } from './servers.ts';
import { portNames, type StartSettings } from './settings.ts';
import { startServers } from './start-servers.ts';
import { agentId, singleServices, startAgent, startService, waitUntilReady } from './start-services.ts';
import { chooseTracing, type TracingChoice, type TracingUi } from './tracing-ui.ts';

/** Services finish running streams within this at the end; what is left is cut. */
const serviceDrainMs = 4_000;
const serviceStopMs = 6_000;
const serverStopMs = 5_000;
/** It keeps nothing, so nothing is lost when it is cut. */
const uiStopMs = 300;
/** An instance that is scaled in is empty by then. */
const agentStopMs = 8_000;
const uiNiceness = 10;

export interface Supervised {
  readonly run: RunFile;
  readonly tracing: TracingChoice;
  readonly instances: readonly Instance[];
  readonly fleet: FleetConfig;
}

export interface Supervisor {
  /** @throws Error, ProvisionError or PortTakenError with a message for a person; what was started runs until `stop` */
  start(): Promise<Supervised>;
  /** `say` tells what is being stopped. */
  stop(say: (text: string) => void): Promise<void>;
  /** At once, in no order. */
  kill(): void;
}

export function createSupervisor(settings: StartSettings, progress: Progress): Supervisor {
  let run: RunFile | undefined;
  let bus: Bus | undefined;
  let launcher: Launcher | undefined;
  const table: ProcessTable = createProcessTable(settings, progress, saveRun);

  function saveRun(): void {
    if (run) writeRunFile(settings.stateFolder, { ...run, processes: table.list() });
  }

  async function start(): Promise<Supervised> {
    if (settings.fresh)
      for (const kept of ['nats', 'redis', 'temporal', 'instances.json']) rmSync(join(settings.stateFolder, kept), { recursive: true, force: true });
    mkdirSync(settings.stateFolder, { recursive: true });
    await requireFree('gateway', 'console');
    // Both may have something to fetch.
    const preparing = prepareEngines(settings, progress);
    preparing.catch(() => {});
    const tracing = await prepareTracing();
    const base = runFile(tracing);
    run = base;
    const launching = preparing.then(({ fleet }) =>
      createLauncher({
        fleet,
        path: join(settings.stateFolder, 'instances.json'),
        changed: saveRun,
        agents: {
          start: (instance) => startAgent(settings, table, instance, asAgent(instance)),
          stop: (instance) => table.stop([agentId(instance)], agentStopMs),
        },
      }),
    );
    const seats = Promise.all([preparing, launching]).then(([{ fleet }, { instances }]) => seatsOf(fleet, instances()));
    const started = await startServers(settings, table, progress, seats);
    const engines = await preparing;
    const launched = await launching;
    launcher = launched;
    run = { ...base, addresses: started.addresses, ...(started.temporalUiUrl && { temporalUiUrl: started.temporalUiUrl }) };
    saveRun();
    const env = serviceEnvironment(started.addresses, tracing, engines.configFolder);
    const { prepared } = started;
    const as = (user: UserName): NodeJS.ProcessEnv => ({ ...env, SWITCHYARD_CREDENTIALS_FILE: prepared.credentialsPath(user) });
    /** NATS hears of one that it does not know before it comes. The answer to who asked for it is lost then; a repeated question is answered. */
    function asAgent(instance: Instance): NodeJS.ProcessEnv {
      const { path, isNew } = prepared.seat(loneSeat(engines.fleet, instance));
      if (isNew) table.get(nats.id)?.signal('SIGHUP');
      return { ...env, ...engines.agentEnv, SWITCHYARD_CREDENTIALS_FILE: path };
    }
    for (const name of singleServices) startService(settings, table, name, `${name}-1`, as(name));
    for (const instance of launched.instances()) startAgent(settings, table, instance, asAgent(instance));
    const own = prepared.credentials('supervisor').nats;
    const connected = await connectNatsBus({
      servers: started.addresses.NATS_URL as string,
      identity: 'supervisor',
      login: {
        token: settings.env.NATS_TOKEN,
        user: settings.env.NATS_USER,
        password: settings.env.NATS_PASSWORD,
        nkeySeed: settings.env.NATS_NKEY_SEED ?? own?.nkeySeed,
      },
      tls: readTls('NATS', { caFile: settings.env.NATS_CA, certFile: settings.env.NATS_CERT, keyFile: settings.env.NATS_KEY }),
      inboxPrefix: inboxPrefixOf('supervisor'),
      clock: systemClock,
      rng: systemRng,
      telemetry: createMemoryTelemetry(systemClock, { process: 'supervisor' }),
    });
    bus = connected;
    launched.serve(connected);
    await started.settled;
    const ids = [...singleServices.map((name) => `${name}-1`), ...launched.instances().map(agentId)];
    await waitUntilReady(connected, table, ids, launched.instances(), progress);
    // Last, and with a lower priority: its start takes seconds of a processor that the services need first.
    if (tracing.kind === 'ui') startUi(tracing.ui);
    saveRun();
    return { run: { ...(run as RunFile), processes: table.list() }, tracing, instances: launched.instances(), fleet: engines.fleet };
  }

  async function requireFree(...names: ('gateway' | 'console')[]): Promise<void> {
    for (const name of names) {
      const { port, flag, variable } = settings.ports[name];
      if (!(await isFree(settings.host, port))) throw new PortTakenError(`the ${name}`, port, flag, variable);
    }
  }

  /** By something else of ours that has not been started yet. */
  function claimed(port: number): boolean {
    return portNames.some((name) => name !== 'tracingUi' && settings.ports[name].port === port);
  }

  async function prepareTracing(): Promise<TracingChoice> {
    const choice = await chooseTracing(settings, { progress, env: settings.env });
    if (choice.kind === 'none') {
      progress.step('tracing UI', '').skipped(`none: ${choice.because}`);
      return choice;
    }
    if (choice.kind !== 'ui') return choice;
    for (const port of choice.ui.ports) {
      if (!claimed(port) && (await isFree(settings.host, port))) continue;
      const { flag, variable } = settings.ports.tracingUi;
      const because = new PortTakenError(`the tracing UI (${choice.ui.name})`, port, flag, variable).message;
      progress.step('tracing UI', '').skipped(`none: ${because}`);
      return { kind: 'none', because };
    }
    return choice;
  }

  function startUi(ui: TracingUi): void {
    table.start({ id: ui.name, command: ui.command, args: ui.args, cwd: settings.root, env: { ...settings.env, ...ui.env }, niceness: uiNiceness });
  }

  function runFile(tracing: TracingChoice): RunFile {
    return {
      pid: process.pid,
      startedAtMs: Date.now(),
      embedded: false,
      baseUrl: `http://${settings.host}:${settings.ports.gateway.port}/v1`,
      consoleUrl: `http://${settings.host}:${settings.ports.console.port}`,
      ...(tracing.kind === 'ui' && { tracingUiUrl: tracing.ui.url }),
      addresses: {},
      processes: [],
    };
  }

  function serviceEnvironment(addresses: Readonly<Record<string, string>>, tracing: TracingChoice, configFolder: string): NodeJS.ProcessEnv {
    return {
      SWITCHYARD_DRAIN_MS: String(serviceDrainMs),
      ...settings.env,
      ...addresses,
      ...(tracing.kind === 'ui' && tracing.ui.exporter),
      ...(tracing.kind === 'ui' && { SWITCHYARD_TRACING_UI: tracing.ui.url }),
      ...(tracing.kind === 'none' && { OTEL_TRACES_EXPORTER: 'none' }),
      SWITCHYARD_HOST: settings.host,
      SWITCHYARD_CONFIG_DIR: configFolder,
      SWITCHYARD_GATEWAY_PORT: String(settings.ports.gateway.port),
      SWITCHYARD_CONSOLE_PORT: String(settings.ports.console.port),
    };
  }

  async function stop(say: (text: string) => void): Promise<void> {
    const ids: readonly string[] = table.ids();
    const fronts: string[] = ids.filter((id) => id === 'gateway-1' || id === 'console-1');
    const uis = ids.filter((id) => id === 'jaeger' || id === 'zipkin');
    const backs = servers.map((server) => server.id).filter((id) => ids.includes(id));
    const middle = ids.filter((id) => ![...fronts, ...uis, ...backs].includes(id));
    // New requests end first, then what serves them, then what that stands on.
    if (fronts.length > 0) say('stopping the gateway and the console');
    await table.stop(fronts, serviceStopMs);
    if (middle.length > 0) say('stopping services and agents');
    await launcher?.close();
    await table.stop(middle, serviceStopMs);
    await bus?.drain();
    if (backs.length > 0) say('stopping servers');
    await Promise.all([table.stop(backs, serverStopMs), table.stop(uis, uiStopMs)]);
    run = undefined;
    removeRunFile(settings.stateFolder);
    table.close();
  }

  return {
    start,
    stop,
    kill() {
      table.killAll();
      removeRunFile(settings.stateFolder);
    },
  };
}
