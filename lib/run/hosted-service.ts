// One service of a process: its configuration, its ports, what it answers about itself; started, and drained at the end.
import type { Neighbours } from '../bus/neighbours.ts';
import { systemClock } from '../clock/system-clock.ts';
import { openConfigFolder } from '../config/config-folder.ts';
import { withoutSecrets } from '../config/load.ts';
import type { Identity } from '../ports/ports.ts';
import type { OtelTelemetry } from '../telemetry/otel.ts';
import { readCredentials } from './credentials.ts';
import { serveDescription } from './describe.ts';
import type { Environment } from './environment.ts';
import { connectRealPorts } from './real-ports.ts';
import { reloadOnChange } from './reload.ts';
import type { Running, Service } from './service.ts';
import { shareKeptTraces } from './share-kept-traces.ts';
import { version } from './version.ts';

export interface HostOptions {
  readonly environment: Environment;
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly identity: Identity;
  readonly telemetry: OtelTelemetry;
  readonly startedAtMs: number;
  /** Where the probes of the process are. */
  readonly probeAddress: () => string;
  /** The other services of this process. */
  readonly neighbours: Neighbours | undefined;
  /** Gives up. */
  readonly signal: AbortSignal;
}

export interface HostedService {
  /** True, or the reason why not; from the beginning. */
  ready(): true | string;
  /** Resolves when the service runs. @throws SwitchyardError `invalid_config`, or what the start threw */
  start(): Promise<void>;
  /** Drains what has been started, within that time, and closes its connections. */
  stop(withinMs: number): Promise<void>;
}

// biome-ignore lint/suspicious/noExplicitAny: each service has a configuration of its own, which nothing here looks into
export type AnyService = Service<any>;

export function hostService<Config>(service: Service<Config>, options: HostOptions): HostedService {
  const { environment, variables, identity, telemetry, startedAtMs, signal } = options;
  /** Undone in the reverse order. */
  const endings: ((withinMs: number) => unknown)[] = [];
  let notYet = 'starting';
  let running: Running<Config> | undefined;
  const ready = () => (notYet === '' && running ? running.ready() : notYet || 'starting');

  return {
    ready,

    async start() {
      const folder = openConfigFolder({
        folder: environment.SWITCHYARD_CONFIG_DIR,
        service: service.name,
        schema: service.schema,
        environment: { ...readCredentials(environment.SWITCHYARD_CREDENTIALS_FILE).settings, ...variables },
        clock: systemClock,
        telemetry,
      });
      const { config, warnings } = await folder.read();
      for (const warning of warnings) telemetry.log.warn('unknown variable in the environment', { warning });
      telemetry.log.debug('configuration', { config: withoutSecrets(config) });
      const real = await connectRealPorts({
        environment,
        identity,
        service: service.name,
        telemetry,
        neighbours: options.neighbours,
        variable: (name) => variables[name] || undefined,
        signal,
        waiting(what) {
          if (!signal.aborted) notYet = what || 'starting';
        },
      });
      endings.push(() => real.close());
      const { bus } = real.ports;
      const owns = () => running?.owns() ?? [];
      const description = serveDescription({
        ...{ bus, service: service.name, identity, version, startedAtMs, ready, owns, probeAddress: options.probeAddress() },
        spans: telemetry.ring,
      });
      endings.push(() => description.stop());
      if (telemetry.kept) {
        const sharing = shareKeptTraces(bus, telemetry.kept);
        endings.push(() => sharing.stop());
      }
      const started = await service.start(config, real.ports);
      running = started;
      endings.push((withinMs) => started.drain(withinMs));
      if (signal.aborted) return;
      notYet = '';
      endings.push(reloadOnChange({ service, running, config, folder, telemetry }));
    },

    async stop(withinMs) {
      notYet = 'draining';
      for (const end of endings.splice(0).reverse()) await end(withinMs);
    },
  };
}
