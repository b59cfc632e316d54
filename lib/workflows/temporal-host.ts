// Runs workflows and activities of this process for Temporal. Temporal may be away at the start or later: the worker is
// made again, with back-off, until it is stopped.
import type { Worker } from '@temporalio/worker';
import type { ActivityImplementations } from '../../core/workflows/activities.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import type { Hosting, HostingOptions } from '../ports/workflows.ts';
import type { TemporalAddress } from './temporal-connection.ts';

export interface TemporalHostOptions extends TemporalAddress {
  readonly taskQueue: string;
  readonly telemetry: Telemetry;
  readonly activities: ActivityImplementations;
  readonly hosting: HostingOptions;
  readonly serverAnswers: () => boolean;
}

const shortestBackoffMs = 500;
const longestBackoffMs = 5_000;

export function hostInTemporal(options: TemporalHostOptions): Hosting {
  const { address, namespace, taskQueue, telemetry } = options;
  const stopping = new AbortController();
  let worker: Worker | undefined;
  let state: true | string = 'starting';

  async function runOnce(): Promise<void> {
    const { createTemporalWorker } = await import('./temporal-worker.ts');
    state = 'bundling the workflows';
    const codePath = await options.hosting.bundle?.();
    if (!codePath) throw new Error('no workflow bundle was given');
    if (stopping.signal.aborted) return;
    state = `connecting to Temporal at ${address}`;
    const maxActivities = options.hosting.maxActivities ?? 100;
    const made = await createTemporalWorker({ ...options, codePath, maxActivities });
    try {
      if (stopping.signal.aborted) return;
      worker = made.worker;
      state = true;
      telemetry.log.info('hosting workflows', { address, namespace, taskQueue });
      await worker.run();
    } finally {
      worker = undefined;
      await made.close();
    }
  }

  async function keepRunning(): Promise<void> {
    let backoffMs = shortestBackoffMs;
    while (!stopping.signal.aborted) {
      try {
        await runOnce();
        backoffMs = shortestBackoffMs;
      } catch (thrown) {
        const reason = thrown instanceof Error ? thrown.message : String(thrown);
        telemetry.log.warn('cannot host workflows, trying again', { address, state, error: reason, backoffMs });
        state = `Temporal at ${address}: ${reason}`;
      }
      if (stopping.signal.aborted) break;
      await pause(backoffMs, stopping.signal);
      backoffMs = Math.min(longestBackoffMs, backoffMs * 2);
    }
    state = 'stopped';
  }

  const running = keepRunning();

  return {
    ready() {
      if (state !== true) return state;
      return options.serverAnswers() ? true : `Temporal at ${address} does not answer`;
    },
    async stop(withinMs) {
      stopping.abort();
      if (worker?.getState() === 'RUNNING') worker.shutdown();
      await Promise.race([running, pause(withinMs)]);
    },
  };
}

function pause(delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(finish, delayMs);
    signal?.addEventListener('abort', finish, { once: true });
  });
}
