// Hosts services in this process: ports of one in-memory world with a real clock and real HTTP, telemetry and
// configuration as a process of their own would have.
import type { StartSettings } from '../infra/setup/settings.ts';
import { systemClock } from '../lib/clock/system-clock.ts';
import { openConfigFolder } from '../lib/config/config-folder.ts';
import { createNodeHttp } from '../lib/http/node-http.ts';
import type { Bus } from '../lib/ports/bus.ts';
import { systemRng } from '../lib/rng/system-rng.ts';
import { serveDescription } from '../lib/run/describe.ts';
import { createMemoryWorld } from '../lib/run/memory-ports.ts';
import { reloadOnChange } from '../lib/run/reload.ts';
import type { Running, Service } from '../lib/run/service.ts';
import { version } from '../lib/run/version.ts';
import { createOtelTelemetry, type OtelTelemetry } from '../lib/telemetry/otel.ts';
import { createMetrics } from '../lib/telemetry/prometheus.ts';

const drainMs = 2_000;

export interface Hosted {
  readonly id: string;
  /** True, or the reason why not. */
  ready(): true | string;
  stop(): Promise<void>;
}

export interface EmbeddedWorld {
  /** For questions from outside of the services. */
  readonly bus: Bus;
  /** Starts a service as `<name>-1`. @throws SwitchyardError `invalid_config` | `port_taken` */
  host<Config>(service: Service<Config>): Promise<Hosted>;
}

/** `environment` adds to the settings of services. */
export function createEmbeddedWorld(
  settings: StartSettings,
  writeLog: (line: string) => void,
  environment: Readonly<Record<string, string>>,
): EmbeddedWorld {
  const metrics = createMetrics();
  const telemetries = new Map<string, OtelTelemetry>();
  const variables = {
    ...settings.env,
    ...environment,
    SWITCHYARD_HOST: settings.host,
    SWITCHYARD_GATEWAY_PORT: String(settings.ports.gateway.port),
    SWITCHYARD_CONSOLE_PORT: String(settings.ports.console.port),
  };

  function telemetryOf(id: string): OtelTelemetry {
    const known = telemetries.get(id);
    if (known) return known;
    const service = id.replace(/-\d+$/, '');
    const tracingOff = !settings.tracing;
    const made = createOtelTelemetry({ service, id, pid: process.pid, version, clock: systemClock, metrics, tracingOff, writeLog });
    telemetries.set(id, made);
    return made;
  }

  const world = createMemoryWorld({
    clock: systemClock,
    rng: systemRng,
    pid: process.pid,
    variables: settings.env,
    http: createNodeHttp({ clock: systemClock, telemetry: telemetryOf('http') }),
    // Workflows run in this process too; their spans are found where those of the worker are.
    telemetry: (id) => telemetryOf(id === 'workflows' ? 'worker-1' : id),
  });

  return {
    bus: world.ports('starter').bus,
    async host<Config>(service: Service<Config>) {
      const id = `${service.name}-1`;
      const telemetry = telemetryOf(id);
      const { bus, identity } = world.ports(id);
      const { name, schema } = service;
      const files = openConfigFolder({ folder: settings.configFolder, service: name, schema, environment: variables, clock: systemClock, telemetry });
      const { config } = await files.read();
      let running: Running<Config> | undefined;
      const ready = () => running?.ready() ?? 'starting';
      const description = serveDescription({
        bus,
        service: name,
        identity,
        version,
        startedAtMs: systemClock.now(),
        ready,
        owns: () => running?.owns() ?? [],
        spans: telemetry.ring,
      });
      running = await service.start(config, world.ports(id));
      const stopWatching = reloadOnChange({ service, running, config, folder: files, telemetry });
      return {
        id,
        ready,
        async stop() {
          stopWatching();
          await running?.drain(drainMs);
          await description.stop();
        },
      };
    },
  };
}
