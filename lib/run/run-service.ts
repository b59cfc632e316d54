// Runs one service as a process: environment, telemetry, configuration, real ports, start, and a drain at the end.
// All of a service's main.ts. The only place that reads process.env for services.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { systemClock } from '../clock/system-clock.ts';
import { openConfigFolder } from '../config/config-folder.ts';
import { withoutSecrets } from '../config/load.ts';
import { sleep } from '../ports/clock.ts';
import { systemRng } from '../rng/system-rng.ts';
import { createOtelTelemetry, type OtelTelemetry } from '../telemetry/otel.ts';
import { type Probe, startProbe } from '../telemetry/probe/probe.ts';
import { readCredentials } from './credentials.ts';
import { serveDescription } from './describe.ts';
import { type Environment, environmentWarnings, readEnvironment } from './environment.ts';
import { connectRealPorts, type RealPorts } from './real-ports.ts';
import { reloadOnChange } from './reload.ts';
import type { Running, Service } from './service.ts';
import { shareKeptTraces } from './share-kept-traces.ts';
import { onStopRequest } from './stop-request.ts';
import { version } from './version.ts';

/** Closing connections after the drain may take this long; then the process ends all the same. */
const closeWithinMs = 5000;
const readyLookMs = 25;

/** Resolves when the service has been started. The process ends by itself: 0 after a drain, 1 after a failure. */
export async function runService<Config>(service: Service<Config>): Promise<void> {
  const startedAtMs = systemClock.now();
  const environment = environmentOrExit();
  const id = environment.SWITCHYARD_ID ?? `${service.name}-${systemRng.id('').slice(0, 6)}`;
  const identity = { id, pid: process.pid };
  const telemetry = createOtelTelemetry({
    service: service.name,
    ...identity,
    version,
    clock: systemClock,
    logLevel: environment.SWITCHYARD_LOG_LEVEL,
    logFormat: environment.SWITCHYARD_LOG_FORMAT ?? (process.stdout.isTTY ? 'pretty' : 'json'),
    exporter: environment.OTEL_TRACES_EXPORTER,
    sampler: environment.OTEL_TRACES_SAMPLER,
    sampleRatio: environment.OTEL_TRACES_SAMPLER_ARG,
    tracingOff: environment.OTEL_SDK_DISABLED,
  });
  endOnSurprise(telemetry);

  let notYet = 'starting';
  let running: Running<Config> | undefined;
  const ready = () => (notYet === '' && running ? running.ready() : notYet || 'starting');

  let probe: Probe | undefined;
  let real: RealPorts | undefined;
  let description: { stop(): Promise<void> } | undefined;
  let sharing: { stop(): Promise<void> } | undefined;
  let stopWatching = () => {};
  const stopping = new AbortController();
  onStopRequest(environment.SWITCHYARD_PARENT_PIPE === 'stdin', telemetry.log, (why) => void stop(why));

  async function stop(why: string): Promise<void> {
    const drainMs = environment.SWITCHYARD_DRAIN_MS;
    telemetry.log.info('draining', { why, withinMs: drainMs });
    notYet = 'draining';
    probe?.update();
    stopping.abort();
    stopWatching();
    systemClock.after(drainMs + closeWithinMs, () => {
      telemetry.log.error('the drain did not end in time');
      process.exit(1);
    });
    try {
      await running?.drain(drainMs);
      await description?.stop();
      await sharing?.stop();
      await real?.close();
    } catch (thrown) {
      telemetry.log.error('the drain failed', { error: thrown });
      process.exitCode = 1;
    }
    await probe?.close();
    telemetry.log.info('stopped');
    await telemetry.shutdown();
    process.exit();
  }

  try {
    const folder = openConfigFolder({
      folder: environment.SWITCHYARD_CONFIG_DIR,
      service: service.name,
      schema: service.schema,
      environment: { ...readCredentials(environment.SWITCHYARD_CREDENTIALS_FILE).settings, ...process.env },
      clock: systemClock,
      telemetry,
    });
    const { config, warnings } = await folder.read();
    for (const warning of [...environmentWarnings(process.env), ...warnings]) telemetry.log.warn('unknown variable in the environment', { warning });
    telemetry.log.info('starting', { version, node: process.versions.node });
    telemetry.log.debug('configuration', { config: withoutSecrets(config) });
    probe = await startProbe({
      host: environment.SWITCHYARD_PROBE_HOST ?? environment.SWITCHYARD_HOST,
      port: environment.SWITCHYARD_PROBE_PORT,
      clock: systemClock,
      telemetry,
      ready,
      service: service.name,
    });
    real = await connectRealPorts({
      environment,
      identity,
      service: service.name,
      telemetry,
      variable: (name) => process.env[name] || undefined,
      signal: stopping.signal,
      waiting(what) {
        if (!stopping.signal.aborted) notYet = what || 'starting';
      },
    });
    description = serveDescription({
      bus: real.ports.bus,
      service: service.name,
      identity,
      version,
      startedAtMs,
      ready,
      owns: () => running?.owns() ?? [],
      spans: telemetry.ring,
      probeAddress: probe.address,
    });
    if (telemetry.kept) sharing = shareKeptTraces(real.ports.bus, telemetry.kept);
    running = await service.start(config, real.ports);
    if (stopping.signal.aborted) return;
    notYet = '';
    stopWatching = reloadOnChange({ service, running, config, folder, telemetry });
    while (ready() !== true && !stopping.signal.aborted) await sleep(systemClock, readyLookMs, stopping.signal);
    probe.update();
    if (!stopping.signal.aborted) telemetry.log.info('ready', { afterMs: Math.round(systemClock.now() - startedAtMs), probe: probe.address });
  } catch (thrown) {
    if (stopping.signal.aborted) return;
    telemetry.log.error('the service could not start', { error: explain(thrown) });
    await telemetry.shutdown();
    process.exit(1);
  }
}

function environmentOrExit(): Environment {
  try {
    return readEnvironment(process.env);
  } catch (thrown) {
    process.stderr.write(`${thrown instanceof Error ? thrown.message : String(thrown)}\n`);
    process.exit(1);
  }
}

/** What nobody handled leaves the process in an unknown state: say so and end; the supervisor starts a new one. */
function endOnSurprise(telemetry: OtelTelemetry): void {
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (thrown: unknown) => {
      telemetry.log.error('failure that nobody handled, the process ends', { event, error: thrown });
      process.exit(1);
    });
  }
}

/** A failure with a code says what to do; anything else needs its stack. */
function explain(thrown: unknown): unknown {
  return thrown instanceof SwitchyardError ? thrown.message : thrown;
}
