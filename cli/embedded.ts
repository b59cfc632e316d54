// `npm start -- --embedded`: every service in this process on the in-memory twins of bus, store, network and workflows.
// The clock is real, and so is HTTP for the gateway and the console: clients and the command line notice no difference.
import { relative } from 'node:path';
import { credentialsFolder, prepareCredentials, rootKeyToShow } from '../infra/setup/credentials.ts';
import { guideText } from '../infra/setup/guide.ts';
import { isFree, PortTakenError } from '../infra/setup/listening-port.ts';
import { prepareEngines } from '../infra/setup/prepare-engines.ts';
import { openProcessLog } from '../infra/setup/process-log.ts';
import type { Progress } from '../infra/setup/progress.ts';
import { defaultStateFolder, type RunFile, removeRunFile, writeRunFile } from '../infra/setup/run-file.ts';
import { firstInstances } from '../infra/setup/seats.ts';
import { logPathOf, type StartSettings } from '../infra/setup/settings.ts';
import type { Started } from '../infra/setup/start-local.ts';
import { standingOf } from '../infra/setup/start-services.ts';
import { systemClock } from '../lib/clock/system-clock.ts';
import { askFleet } from '../lib/fleet/ask-fleet.ts';
import type { Bus } from '../lib/ports/bus.ts';
import { sleep } from '../lib/ports/clock.ts';
import type { FleetView } from '../proto/gen/messages.ts';
import { admission } from '../services/admission/service.ts';
import { agent } from '../services/agent/service.ts';
import { autoscaler } from '../services/autoscaler/service.ts';
import { console as operatorConsole } from '../services/console/service.ts';
import { gateway } from '../services/gateway/service.ts';
import { instanceTracker } from '../services/instance-tracker/service.ts';
import { migrationCoordinator } from '../services/migration-coordinator/service.ts';
import { router } from '../services/router/service.ts';
import { worker } from '../services/worker/service.ts';
import { createEmbeddedWorld, type Hosted } from './embedded-world.ts';

const readyTimeoutMs = 20_000;
const askTimeoutMs = 500;
const lookEveryMs = 20;
const notKept = 'Nothing is kept: queues, ledgers, API keys, workflows and their history end with this process.';

export function startEmbedded(settings: StartSettings, progress: Progress): Started {
  let hosted: Hosted[] = [];
  const log = openProcessLog(logPathOf(settings, 'embedded'), (message) => progress.say(`  ${message}`));

  async function start(): Promise<string> {
    await requirePorts(settings);
    const { fleet, configFolder, agentEnv } = await prepareEngines(settings, progress, { onlyFound: true });
    const step = progress.step('services', 'starting in this process');
    const instances = firstInstances(fleet).map(({ pool, id }) => `${pool}/${id}`);
    const prepared = prepareCredentials(credentialsFolder(settings), { nats: false, redis: false, readOnlyKeys: true });
    const world = createEmbeddedWorld({ ...settings, configFolder }, log.write, {
      ...agentEnv,
      ...prepared.credentials('console').settings,
      SWITCHYARD_AGENT_INSTANCES: instances.join(','),
      SWITCHYARD_LAUNCHER: 'true',
    });
    hosted = await Promise.all([
      world.host(instanceTracker),
      world.host(router),
      world.host(admission),
      world.host(migrationCoordinator),
      world.host(autoscaler),
      world.host(worker),
      world.host(agent),
      world.host(gateway),
      world.host(operatorConsole),
    ]);
    const healthy = await waitUntilReady(world.bus, hosted, instances);
    step.done(`${hosted.length} in this process, ${healthy} of ${instances.length} instances healthy`);
    progress.say(`  ${notKept}`);
    const run = runFile(settings);
    writeRunFile(settings.stateFolder, run);
    return guideText({
      run,
      fleet,
      instances: instances.map((name) => name.split('/')[1] as string),
      rootKey: rootKeyToShow(settings),
      tracing: 'none; `npx switchyard trace <request>` shows a journey',
      logs: relative(settings.root, log.path),
      findable: settings.stateFolder === defaultStateFolder,
    });
  }

  return {
    ready: start(),
    async stop(say) {
      say('stopping');
      removeRunFile(settings.stateFolder);
      await Promise.all(hosted.map((one) => one.stop()));
    },
    kill: () => removeRunFile(settings.stateFolder),
  };
}

async function requirePorts(settings: StartSettings): Promise<void> {
  for (const name of ['gateway', 'console'] as const) {
    const { port, flag, variable } = settings.ports[name];
    if (!(await isFree(settings.host, port))) throw new PortTakenError(`the ${name}`, port, flag, variable);
  }
}

/** @returns how many instances take requests. @throws Error that says who is not ready, and why */
async function waitUntilReady(bus: Bus, hosted: readonly Hosted[], instances: readonly string[]): Promise<number> {
  const untilMs = systemClock.now() + readyTimeoutMs;
  const ids = instances.map((name) => ({ id: name.split('/')[1] as string }));
  for (;;) {
    const services = hosted.flatMap((one) => {
      const ready = one.ready();
      return ready === true ? [] : [`${one.id} (${ready})`];
    });
    const { waiting, unusable } = services.length > 0 ? { waiting: services, unusable: [] } : standingOf(await instancesNow(bus), ids);
    if (waiting.length === 0) return instances.length - unusable.length;
    if (systemClock.now() > untilMs) throw new Error(`Not ready: ${waiting.join(', ')}`);
    await sleep(systemClock, lookEveryMs);
  }
}

async function instancesNow(bus: Bus): Promise<FleetView['instances']> {
  try {
    return (await askFleet(bus, { timeoutMs: askTimeoutMs, withoutSequences: true })).instances;
  } catch {
    return [];
  }
}

function runFile(settings: StartSettings): RunFile {
  return {
    pid: process.pid,
    startedAtMs: Date.now(),
    embedded: true,
    baseUrl: `http://${settings.host}:${settings.ports.gateway.port}/v1`,
    consoleUrl: `http://${settings.host}:${settings.ports.console.port}`,
    addresses: {},
    processes: [],
  };
}
