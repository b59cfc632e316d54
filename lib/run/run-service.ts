// Runs one service as a process, or several in one: environment, telemetry, probes, start, and a drain at the end. All of a
// service's main.ts. The only place that reads process.env for services.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { createNeighbours } from '../bus/neighbours.ts';
import { systemClock } from '../clock/system-clock.ts';
import { sleep } from '../ports/clock.ts';
import { systemRng } from '../rng/system-rng.ts';
import { createOtelTelemetry, type OtelTelemetry } from '../telemetry/otel.ts';
import { type Probe, startProbe } from '../telemetry/probe/probe.ts';
import { createMetrics } from '../telemetry/prometheus.ts';
import { type Environment, environmentWarnings, readEnvironment } from './environment.ts';
import { type AnyService, hostService } from './hosted-service.ts';
import { onStopRequest } from './stop-request.ts';
import { version } from './version.ts';

/** Closing connections after the drain may take this long; then the process ends all the same. */
const closeWithinMs = 5000;
const readyLookMs = 25;

/** Resolves when the service has been started. The process ends by itself: 0 after a drain, 1 after a failure. */
export async function runService(service: AnyService): Promise<void> {
  await runServices([service]);
}

/**
 * Several services in one process: each with its own name, credentials, connections and settings, as if alone; questions that they
 * ask each other stay within the process. They end in the order given, each when it has drained.
 */
export async function runServices(services: readonly AnyService[]): Promise<void> {
  const startedAtMs = systemClock.now();
  const environment = environmentOrExit();
  const alone = services.length === 1;
  const processId = environment.SWITCHYARD_ID ?? `${alone ? services[0]!.name : 'process'}-${systemRng.id('').slice(0, 6)}`;
  const metrics = createMetrics();
  const neighbours = alone ? undefined : createNeighbours();
  const stopping = new AbortController();
  let probe: Probe | undefined;
  let stopped = false;

  const members = services.map((service) => {
    const identity = { id: alone ? processId : `${service.name}-${processId}`, pid: process.pid };
    const telemetry = createOtelTelemetry({
      service: service.name,
      ...identity,
      version,
      clock: systemClock,
      metrics,
      logLevel: environment.SWITCHYARD_LOG_LEVEL,
      logFormat: environment.SWITCHYARD_LOG_FORMAT ?? (process.stdout.isTTY ? 'pretty' : 'json'),
      exporter: environment.OTEL_TRACES_EXPORTER,
      sampler: environment.OTEL_TRACES_SAMPLER,
      sampleRatio: environment.OTEL_TRACES_SAMPLER_ARG,
      tracingOff: environment.OTEL_SDK_DISABLED,
    });
    const hosted = hostService(service, {
      environment: { ...environment, SWITCHYARD_CREDENTIALS_FILE: environment.SWITCHYARD_CREDENTIALS_FILE?.replaceAll('{service}', service.name) },
      variables: process.env,
      identity,
      telemetry,
      startedAtMs,
      probeAddress: () => probe?.address ?? '',
      neighbours,
      signal: stopping.signal,
    });
    return { name: service.name, telemetry, hosted };
  });
  const { telemetry } = members[0]!;
  endOnSurprise(telemetry);

  function ready(): true | string {
    const waiting = members.flatMap(({ name, hosted }) => {
      const why = hosted.ready();
      return why === true ? [] : [alone ? why : `${name}: ${why}`];
    });
    return waiting.length === 0 || waiting.join('; ');
  }

  onStopRequest(environment.SWITCHYARD_PARENT_PIPE === 'stdin', telemetry.log, (why) => void stop(why));

  async function stop(why: string): Promise<void> {
    const drainMs = environment.SWITCHYARD_DRAIN_MS;
    telemetry.log.info('draining', { why, withinMs: drainMs });
    stopped = true;
    stopping.abort();
    const untilMs = systemClock.now() + drainMs;
    systemClock.after(drainMs + closeWithinMs, () => {
      telemetry.log.error('the drain did not end in time');
      process.exit(1);
    });
    for (const { hosted, telemetry: own } of members) {
      try {
        const stops = hosted.stop(Math.max(0, untilMs - systemClock.now()));
        probe?.update();
        await stops;
      } catch (thrown) {
        own.log.error('the drain failed', { error: thrown });
        process.exitCode = 1;
      }
    }
    await probe?.close();
    telemetry.log.info('stopped');
    await Promise.all(members.map((member) => member.telemetry.shutdown()));
    process.exit();
  }

  try {
    for (const member of members) member.telemetry.log.info('starting', { version, node: process.versions.node });
    for (const warning of environmentWarnings(process.env)) telemetry.log.warn('unknown variable in the environment', { warning });
    probe = await startProbe({
      host: environment.SWITCHYARD_PROBE_HOST ?? environment.SWITCHYARD_HOST,
      port: environment.SWITCHYARD_PROBE_PORT,
      clock: systemClock,
      telemetry,
      ready,
      service: services.map(({ name }) => name).join('+'),
    });
    await Promise.all(members.map(({ hosted }) => hosted.start()));
    while (ready() !== true && !stopped) await sleep(systemClock, readyLookMs, stopping.signal);
    probe.update();
    if (!stopped) telemetry.log.info('ready', { afterMs: Math.round(systemClock.now() - startedAtMs), probe: probe.address });
  } catch (thrown) {
    if (stopped) return;
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
