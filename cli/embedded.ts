// `npm start -- --embedded`: every service in this process on the in-memory twins of bus, store, network and workflows.
// The clock is real, and so is HTTP for the gateway and the console: clients and the command line notice no difference.
import { guideText } from '../infra/setup/guide.ts';
import { isFree, PortTakenError } from '../infra/setup/listening-port.ts';
import { loadFleet } from '../infra/setup/load-fleet.ts';
import { openProcessLog } from '../infra/setup/process-log.ts';
import type { Progress } from '../infra/setup/progress.ts';
import { logPathOf, type StartSettings } from '../infra/setup/settings.ts';
import type { Started } from '../infra/setup/start-local.ts';
import { systemClock } from '../lib/clock/system-clock.ts';
import { openConfigFolder } from '../lib/config/config-folder.ts';
import { getFleet } from '../lib/contracts.ts';
import { createNodeHttp } from '../lib/http/node-http.ts';
import { sleep } from '../lib/ports/clock.ts';
import { systemRng } from '../lib/rng/system-rng.ts';
import { serveDescription } from '../lib/run/describe.ts';
import { createMemoryWorld } from '../lib/run/memory-ports.ts';
import type { Running, Service } from '../lib/run/service.ts';
import { version } from '../lib/run/version.ts';
import { createOtelTelemetry, type OtelTelemetry } from '../lib/telemetry/otel.ts';
import { createMetrics } from '../lib/telemetry/prometheus.ts';
import { admission } from '../services/admission/service.ts';
import { agent } from '../services/agent/service.ts';
import { autoscaler } from '../services/autoscaler/service.ts';
import { console as operatorConsole } from '../services/console/service.ts';
import { gateway } from '../services/gateway/service.ts';
import { instanceTracker } from '../services/instance-tracker/service.ts';
import { migrationCoordinator } from '../services/migration-coordinator/service.ts';
import { router } from '../services/router/service.ts';
import { worker } from '../services/worker/service.ts';

const readyTimeoutMs = 20_000;
const lookEveryMs = 20;
const drainMs = 2_000;
const notKept = 'Nothing is kept: queues, ledgers, API keys, workflows and their history end with this process.';

interface Hosted {
  readonly id: string;
  ready(): true | string;
  stop(): Promise<void>;
}

export function startEmbedded(settings: StartSettings, progress: Progress): Started {
  let hosted: Hosted[] = [];
  const log = openProcessLog(logPathOf(settings, 'embedded'), (message) => progress.say(`  ${message}`));

  async function start(): Promise<string> {
    for (const name of ['gateway', 'console'] as const) {
      const { port, flag, variable } = settings.ports[name];
      if (!(await isFree(settings.host, port))) throw new PortTakenError(`the ${name}`, port, flag, variable);
    }
    const step = progress.step('services', 'starting in this process');
    const fleet = loadFleet(settings.configFolder);
    const instances = fleet.pools.flatMap((pool) => Array.from({ length: pool.instances }, (_, index) => `${pool.id}/${pool.id}-${index + 1}`));
    const metrics = createMetrics();
    const telemetries = new Map<string, OtelTelemetry>();
    const telemetryOf = (id: string): OtelTelemetry => {
      const made =
        telemetries.get(id) ??
        createOtelTelemetry({
          service: id.replace(/-\d+$/, ''),
          id,
          pid: process.pid,
          version,
          clock: systemClock,
          metrics,
          tracingOff: !settings.tracing,
          writeLog: log.write,
        });
      telemetries.set(id, made);
      return made;
    };
    const world = createMemoryWorld({
      clock: systemClock,
      rng: systemRng,
      pid: process.pid,
      http: createNodeHttp({ clock: systemClock, telemetry: telemetryOf('http') }),
      telemetry: telemetryOf,
    });
    const environment = {
      ...settings.env,
      SWITCHYARD_HOST: settings.host,
      SWITCHYARD_GATEWAY_PORT: String(settings.ports.gateway.port),
      SWITCHYARD_CONSOLE_PORT: String(settings.ports.console.port),
      SWITCHYARD_AGENT_INSTANCES: instances.join(','),
      SWITCHYARD_LAUNCHER: 'true',
    };

    async function host<Config>(service: Service<Config>): Promise<Hosted> {
      const id = `${service.name}-1`;
      const telemetry = telemetryOf(id);
      const ports = world.ports(id);
      const source = { folder: settings.configFolder, service: service.name, schema: service.schema, environment, clock: systemClock, telemetry };
      const { config } = await openConfigFolder(source).read();
      let running: Running<Config> | undefined;
      const ready = () => running?.ready() ?? 'starting';
      const description = serveDescription({
        bus: ports.bus,
        service: service.name,
        identity: ports.identity,
        version,
        startedAtMs: systemClock.now(),
        ready,
        owns: () => running?.owns() ?? [],
        spans: telemetry.ring,
      });
      running = await service.start(config, ports);
      return {
        id,
        ready,
        async stop() {
          await running?.drain(drainMs);
          await description.stop();
        },
      };
    }

    // The front comes last: it finds the others at work.
    hosted = await Promise.all([
      host(instanceTracker),
      host(router),
      host(admission),
      host(migrationCoordinator),
      host(autoscaler),
      host(worker),
      host(agent),
      host(gateway),
      host(operatorConsole),
    ]);
    const untilMs = systemClock.now() + readyTimeoutMs;
    for (;;) {
      const waiting = hosted.flatMap(({ id, ready }) => (ready() === true ? [] : [`${id} (${ready()})`]));
      const healthy = waiting.length > 0 ? 0 : await healthyInstances();
      if (waiting.length === 0 && healthy === instances.length) break;
      if (systemClock.now() > untilMs) throw new Error(`Not ready: ${waiting.join(', ') || `${healthy} of ${instances.length} instances healthy`}`);
      await sleep(systemClock, lookEveryMs);
    }
    step.done(`${hosted.length} in this process, ${instances.length} instances healthy`);
    progress.say(`  ${notKept}`);

    async function healthyInstances(): Promise<number> {
      try {
        const view = await world.ports('starter').bus.request(getFleet, [], {}, { timeoutMs: 500 });
        return view.instances.filter((one) => one.health === 'healthy').length;
      } catch {
        return 0;
      }
    }

    return guideText({
      run: {
        pid: process.pid,
        startedAtMs: systemClock.now(),
        embedded: true,
        baseUrl: `http://${settings.host}:${settings.ports.gateway.port}/v1`,
        consoleUrl: `http://${settings.host}:${settings.ports.console.port}`,
        addresses: {},
        processes: [],
      },
      fleet,
      instances: instances.map((name) => name.split('/')[1] as string),
      tracing: 'none; npx switchyard trace <request> shows a journey',
      logs: log.path,
    });
  }

  return {
    ready: start(),
    async stop(say) {
      if (hosted.length > 0) say('stopping');
      await Promise.all(hosted.map((one) => one.stop()));
    },
    kill() {},
  };
}
