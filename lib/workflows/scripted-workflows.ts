// A workflow port for tests of the services that start workflows: nothing runs, the test says how each one goes on.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { WorkflowName } from '../../core/workflows/catalogue.ts';
import type { Clock } from '../ports/clock.ts';
import type { WorkflowSummary, Workflows } from '../ports/workflows.ts';

export interface ScriptedRun {
  readonly name: WorkflowName;
  readonly id: string;
  readonly input: unknown;
  status: WorkflowSummary['status'];
  result: unknown;
  readonly startedAtMs: number;
}

export interface ScriptedWorkflows extends Workflows {
  /** In order of their start. */
  readonly runs: ScriptedRun[];
  /** Away: every call fails with `workflows_unavailable`. */
  away: boolean;
  /** Answers to `start` come this late, ms. */
  startDelayMs: number;
  /** Ends a run; `result` resolves with the value. */
  end(id: string, result: unknown, status?: WorkflowSummary['status']): void;
  /** A run that somebody else started. */
  add(name: WorkflowName, id: string, input?: unknown): void;
}

export function createScriptedWorkflows(clock: Clock): ScriptedWorkflows {
  const runs: ScriptedRun[] = [];
  let waiting: (() => void)[] = [];

  function requireHere(): void {
    if (scripted.away) throw new SwitchyardError('workflows_unavailable', 'the workflow engine is away');
  }

  function find(id: string): ScriptedRun {
    requireHere();
    const run = runs.find((each) => each.id === id);
    if (!run) throw new SwitchyardError('workflow_not_found', `there is no workflow ${id}`);
    return run;
  }

  function summary({ id, name, status, startedAtMs }: ScriptedRun): WorkflowSummary {
    return { id, name, status, startedAtMs, closedAtMs: status === 'running' ? undefined : clock.now(), summary: '' };
  }

  const scripted: ScriptedWorkflows = {
    runs,
    away: false,
    startDelayMs: 0,
    add(name, id, input) {
      runs.push({ name, id, input, status: 'running', result: undefined, startedAtMs: clock.now() });
    },
    end(id, result, status = 'completed') {
      const run = find(id);
      run.status = status;
      run.result = result;
      const resume = waiting;
      waiting = [];
      for (const next of resume) next();
    },
    async start(name, id, input) {
      if (scripted.startDelayMs > 0) await new Promise<void>((resolve) => clock.after(scripted.startDelayMs, resolve));
      requireHere();
      if (runs.some((run) => run.id === id)) return false;
      scripted.add(name, id, input);
      return true;
    },
    async result(_name, id) {
      while (find(id).status === 'running') await new Promise<void>((resolve) => waiting.push(resolve));
      const run = find(id);
      if (run.status !== 'completed') throw new SwitchyardError('workflow_failed', `workflow ${id} ${run.status}`);
      return run.result as never;
    },
    describe: async (id) => summary(find(id)),
    query: async () => {
      throw new SwitchyardError('workflow_not_found', 'scripted workflows answer no queries');
    },
    update: async () => {
      throw new SwitchyardError('workflow_not_found', 'scripted workflows take no updates');
    },
    cancel: async (id) => scripted.end(id, undefined, 'cancelled'),
    async list(filter) {
      requireHere();
      return runs
        .filter(
          (run) => (!filter.name || run.name === filter.name) && (filter.running === undefined || (run.status === 'running') === filter.running),
        )
        .slice(0, filter.limit)
        .map(summary);
    },
    host: () => ({ ready: () => 'scripted workflows run nothing', stop: async () => {} }),
    connected: () => !scripted.away,
    close: async () => {},
  };
  return scripted;
}
