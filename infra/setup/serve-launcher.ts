// Serves startInstance and stopInstance of the control plane by starting and stopping agent processes. What shall run
// is kept in a file, so that the next `npm start` begins with the fleet as scaling left it.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { FleetConfig } from '../../lib/config/fleet.ts';
import { startInstance, stopInstance } from '../../lib/contracts.ts';
import type { Bus, Subscription } from '../../lib/ports/bus.ts';
import { decideStart, decideStop, type Instance, initialState, type LauncherState } from './launcher.ts';

/** Instances that were stopped and still answer a repeated command; the oldest are forgotten. */
const maxRemembered = 256;

export interface Agents {
  start(instance: Instance): void;
  stop(instance: Instance): Promise<void>;
}

export interface Launcher {
  instances(): readonly Instance[];
  serve(bus: Bus): void;
  close(): Promise<void>;
}

export function createLauncher(options: { fleet: FleetConfig; path: string; agents: Agents; changed: () => void }): Launcher {
  const { agents, path } = options;
  let state = initialState(options.fleet, read(path));
  let bus: Bus | undefined;
  const subscriptions: Subscription[] = [];
  const answering = new Map<string, Subscription>();
  /** A repeated stop waits for the first one. */
  const stopping = new Map<string, Promise<void>>();
  save(path, state);

  function keep(next: LauncherState): void {
    state = next;
    save(path, state);
    options.changed();
  }

  function answerFor(instanceId: string): void {
    if (!bus || answering.has(instanceId)) return;
    const subscription = bus.serve(stopInstance, [instanceId], async (command) => {
      const decision = decideStop(state, command);
      if (decision.refusal) return { refusal: decision.refusal };
      keep(decision.state);
      if (decision.stop) {
        const stopped = agents.stop(decision.stop).finally(() => stopping.delete(instanceId));
        stopping.set(instanceId, stopped);
      }
      await stopping.get(instanceId);
      return {};
    });
    answering.set(instanceId, subscription);
    for (const [id, old] of answering) {
      if (answering.size <= maxRemembered) break;
      if (state.instances.some((one) => one.id === id)) continue;
      answering.delete(id);
      void old.stop();
    }
  }

  return {
    instances: () => state.instances,
    serve(connected) {
      bus = connected;
      const subscription = connected.serve(
        startInstance,
        ['*'],
        async (command) => {
          // Its process may still be ending.
          await stopping.get(command.instanceId);
          const decision = decideStart(state, command);
          if (decision.refusal) return { refusal: decision.refusal };
          keep(decision.state);
          if (decision.start) {
            agents.start(decision.start);
            answerFor(decision.start.id);
          }
          return {};
        },
        { group: 'launchers' },
      );
      subscriptions.push(subscription);
      for (const one of state.instances) answerFor(one.id);
    },
    async close() {
      await Promise.all([...subscriptions, ...answering.values()].map((one) => one.stop()));
    },
  };
}

function read(path: string): LauncherState | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as LauncherState;
  } catch {
    return undefined;
  }
}

function save(path: string, state: LauncherState): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, `${JSON.stringify(state, null, 2)}\n`);
  renameSync(`${path}.new`, path);
}
