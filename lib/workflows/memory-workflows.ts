// The in-memory twin of Temporal: runs the same bodies on the given clock. Used by the embedded mode, the simulator and
// tests. What it does not keep: nothing survives the process, and there is no history.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { ActivityImplementations } from '../../core/workflows/activities.ts';
import type { WorkflowInputs, WorkflowName, WorkflowResults } from '../../core/workflows/catalogue.ts';
import type { Clock } from '../ports/clock.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import type { Hosting, WorkflowSummary, Workflows } from '../ports/workflows.ts';
import type { Host } from './memory-activity.ts';
import { startRun, type WorkflowRun, type World } from './memory-run.ts';
import { asJson } from './memory-values.ts';
import { isAbout } from './workflow-search.ts';

export interface MemoryWorkflowsOptions {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Ended workflows that are remembered; the oldest are forgotten, and their ids could run again. */
  readonly remember?: number;
}

export function createMemoryWorkflows(options: MemoryWorkflowsOptions): Workflows {
  const { clock, telemetry } = options;
  const remember = options.remember ?? 10_000;
  const runs = new Map<string, WorkflowRun>();
  const ended: string[] = [];
  const hosts: Host[] = [];
  let waitingForHost: (() => void)[] = [];

  const world: World = {
    clock,
    telemetry,
    async host() {
      while (hosts.length === 0) await new Promise<void>((resolve) => waitingForHost.push(resolve));
      return hosts[0]!;
    },
    begin,
    cancel: (id) => runs.get(id)?.cancel(),
  };

  function begin<N extends WorkflowName>(name: N, id: string, input: WorkflowInputs[N]): WorkflowRun | undefined {
    if (runs.has(id)) return undefined;
    const run = startRun(world, { name, id, input: asJson(input) });
    runs.set(id, run);
    void run.done.then(() => {
      ended.push(id);
      if (ended.length > remember) runs.delete(ended.shift()!);
    });
    return run;
  }

  function find(id: string): WorkflowRun {
    const run = runs.get(id);
    if (!run) throw new SwitchyardError('workflow_not_found', `there is no workflow ${id}`);
    return run;
  }

  function findOpen(id: string): WorkflowRun {
    const run = find(id);
    if (run.summary().status !== 'running') throw new SwitchyardError('workflow_not_found', `workflow ${id} has ended`);
    if (hosts.length === 0) throw new SwitchyardError('workflows_unavailable', 'nothing hosts workflows');
    return run;
  }

  return {
    start: async (name, id, input) => begin(name, id, input) !== undefined,
    async result<N extends WorkflowName>(_name: N, id: string): Promise<WorkflowResults[N]> {
      const end = await find(id).done;
      if ('result' in end) return asJson(end.result) as WorkflowResults[N];
      throw new SwitchyardError('workflow_failed', `workflow ${id} failed: ${end.failure.message}`, { cause: end.failure });
    },
    describe: async (id) => find(id).summary(),
    query: async <T>(id: string, query: string) => asJson(find(id).query(query)) as T,
    update: async <T>(id: string, update: string, argument: unknown) => asJson(findOpen(id).update(update, asJson(argument))) as T,
    cancel: async (id) => find(id).cancel(),
    async list(filter): Promise<WorkflowSummary[]> {
      return [...runs.values()]
        .filter((run) => isAbout(run.facts, filter))
        .map((run) => run.summary())
        .filter(
          (item) =>
            (filter.name === undefined || item.name === filter.name) &&
            (filter.running === undefined || (item.status === 'running') === filter.running),
        )
        .sort((a, b) => b.startedAtMs - a.startedAtMs || (a.id < b.id ? -1 : 1))
        .slice(0, filter.limit);
    },
    host(activities: ActivityImplementations): Hosting {
      const host: Host = { activities, stopping: new AbortController(), running: new Set() };
      hosts.push(host);
      const waiting = waitingForHost;
      waitingForHost = [];
      for (const resume of waiting) resume();
      return {
        ready: () => (host.stopping.signal.aborted || !hosts.includes(host) ? 'stopped' : true),
        async stop(withinMs) {
          if (hosts.includes(host)) hosts.splice(hosts.indexOf(host), 1);
          await Promise.race([Promise.allSettled(host.running), new Promise<void>((resolve) => clock.after(withinMs, resolve))]);
          host.stopping.abort();
        },
      };
    },
    connected: () => true,
    close: async () => {
      for (const run of runs.values()) run.forget();
    },
  };
}
