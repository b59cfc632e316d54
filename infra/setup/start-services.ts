// Starts every service and every agent as a process of its own and waits until all say that they are ready.
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describeServices } from '../../lib/contracts.ts';
import { askFleet } from '../../lib/fleet/ask-fleet.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import { type ServiceName, serviceNames } from '../../lib/run/service.ts';
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
    const waiting = await notReady(bus, ids, instances);
    if (waiting.length === 0) {
      step.done(`${ids.length} processes, ${instances.length} instances healthy`);
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

async function notReady(bus: Bus, ids: readonly string[], instances: readonly Instance[]): Promise<string[]> {
  const infos = await bus.gather(describeServices, [], {}, { timeoutMs: askTimeoutMs, expected: ids.length });
  const waiting = ids.flatMap((id) => {
    const info = infos.find((one) => one.id === id);
    if (info === undefined) return [id];
    return info.ready ? [] : [info.notReadyBecause ? `${id} (${info.notReadyBecause})` : id];
  });
  if (waiting.length > 0) return waiting;
  const healthy = new Set(await healthyInstances(bus));
  return instances.filter((one) => !healthy.has(one.id)).map((one) => `instance ${one.id}`);
}

async function healthyInstances(bus: Bus): Promise<string[]> {
  try {
    const view = await askFleet(bus, { timeoutMs: askTimeoutMs, withoutSequences: true });
    return view.instances.flatMap((one) => (one.health === 'healthy' && one.status ? [one.status.instanceId] : []));
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
