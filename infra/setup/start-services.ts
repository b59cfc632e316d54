// Starts every service and every agent as a process of its own and waits until all say that they are ready.
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describeServices } from '../../lib/contracts.ts';
import { askFleet } from '../../lib/fleet/ask-fleet.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import { type ServiceName, serviceNames } from '../../lib/run/service.ts';
import type { FleetView } from '../../proto/gen/messages.ts';
import type { Instance } from './launcher.ts';
import { errorOf, readable, tellingLine } from './process-log.ts';
import type { ProcessTable } from './process-table.ts';
import type { Progress } from './progress.ts';
import type { StartSettings } from './settings.ts';

const readyTimeoutMs = 90_000;
/** A process that has crashed this often in a row while starting will not start. */
const hopelessCrashes = 4;
const askTimeoutMs = 400;
const pollMs = 100;

/** One of each; agents come one per instance. */
export const singleServices = serviceNames.filter((name) => name !== 'agent');

export function agentId(instance: Instance): string {
  return `agent-${instance.id}`;
}

export function startService(settings: StartSettings, table: ProcessTable, name: ServiceName, id: string, env: NodeJS.ProcessEnv): void {
  table.start({
    id,
    command: process.execPath,
    args: [join(settings.root, 'services', name, 'main.ts')],
    cwd: settings.root,
    env: { ...env, SWITCHYARD_ID: id },
  });
}

export function startAgent(settings: StartSettings, table: ProcessTable, instance: Instance, env: NodeJS.ProcessEnv): void {
  startService(settings, table, 'agent', agentId(instance), { ...env, SWITCHYARD_AGENT_INSTANCES: `${instance.pool}/${instance.id}` });
}

/** @throws Error that says which are not ready, and why */
export async function waitUntilReady(
  bus: Bus,
  table: ProcessTable,
  ids: readonly string[],
  instances: readonly Instance[],
  progress: Progress,
): Promise<void> {
  const step = progress.step('services', `starting ${ids.length} processes`);
  const untilMs = Date.now() + readyTimeoutMs;
  for (;;) {
    const { waiting, unusable } = await notReady(bus, ids, instances);
    if (waiting.length === 0) {
      const healthy = `${ids.length} processes, ${instances.length - unusable.length} instances healthy`;
      if (unusable.length === 0) step.done(healthy);
      else step.skipped(`${healthy}; ${unusable.join(', ')} cannot be used (above, and in the log, is why)`);
      return;
    }
    step.doing(`${ids.length - waiting.length} of ${ids.length} ready, waiting for ${waiting.slice(0, 3).join(', ')}`);
    const hopeless = ids.find((id) => (table.get(id)?.crashes() ?? 0) >= hopelessCrashes);
    if (hopeless !== undefined || Date.now() >= untilMs) {
      step.failed(hopeless === undefined ? `not ready after ${readyTimeoutMs / 1000} s` : `${hopeless} crashes again and again`);
      throw new Error(`Not ready: ${waiting.join('; ')}.${ends(table, ids)}`);
    }
    await pause(pollMs);
  }
}

interface Standing {
  /** What is not there yet, for people. */
  readonly waiting: readonly string[];
  /** Instances whose engine has said that it will never take a request. */
  readonly unusable: readonly string[];
}

async function notReady(bus: Bus, ids: readonly string[], instances: readonly Instance[]): Promise<Standing> {
  const infos = await bus.gather(describeServices, [], {}, { timeoutMs: askTimeoutMs, expected: ids.length });
  const waiting = ids.flatMap((id) => {
    const info = infos.find((one) => one.id === id);
    if (info === undefined) return [id];
    return info.ready ? [] : [info.notReadyBecause ? `${id} (${info.notReadyBecause})` : id];
  });
  if (waiting.length > 0) return { waiting, unusable: [] };
  return standingOf(await instancesNow(bus), instances);
}

/** An instance is there when it is healthy and its engine has loaded what it needs. One that is cordoned or draining is there too. */
export function standingOf(views: FleetView['instances'], instances: readonly Pick<Instance, 'id'>[]): Standing {
  const waiting: string[] = [];
  const unusable: string[] = [];
  for (const { id } of instances) {
    const view = views.find(({ status }) => status?.instanceId === id);
    if (view?.health !== 'healthy' || !view.status) waiting.push(`instance ${id}`);
    else if (!view.status.accepting && view.status.setAside !== '') unusable.push(id);
    else if (!view.status.accepting) waiting.push(`instance ${id} (loading)`);
  }
  return { waiting, unusable };
}

async function instancesNow(bus: Bus): Promise<FleetView['instances']> {
  try {
    return (await askFleet(bus, { timeoutMs: askTimeoutMs, withoutSequences: true })).instances;
  } catch {
    return [];
  }
}

/** The last lines of the first that crashed: the others mostly follow from it, or say the same. */
function ends(table: ProcessTable, ids: readonly string[]): string {
  const crashed = ids.map((id) => table.get(id)).find((one) => one !== undefined && one.crashes() > 0);
  if (crashed === undefined) return '';
  const tail = crashed.tail();
  const telling = tellingLine(tail);
  const from = tail.findIndex((line) => telling !== undefined && (errorOf(line) ?? line.trim()) === telling);
  const shown = tail.slice(Math.max(0, from), Math.max(0, from) + 6);
  return `\n\nOut of ${crashed.logPath}:\n${shown.map(readable).join('\n')}`;
}
