// One workflow of the in-memory twin: its body, the control it is given, and its activities with their policies.
import { AsyncLocalStorage } from 'node:async_hooks';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { type ActivityCatalogue, type ActivityName, activityPolicies, backoffMs } from '../../core/workflows/activities.ts';
import { bodies, type WorkflowBody } from '../../core/workflows/bodies.ts';
import type { WorkflowInputs, WorkflowName } from '../../core/workflows/catalogue.ts';
import type { WorkflowControl } from '../../core/workflows/control.ts';
import { createStory, storyQuery } from '../../core/workflows/story.ts';
import type { Clock } from '../ports/clock.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import type { WorkflowSummary } from '../ports/workflows.ts';
import { type Host, HostStopped, runAttempt } from './memory-activity.ts';
import { asJson } from './memory-values.ts';
import { describeWorkflow, type WorkflowFacts } from './workflow-summary.ts';

export interface World {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Waits until somebody hosts. */
  host(): Promise<Host>;
  /** Undefined: the id is taken. */
  begin<N extends WorkflowName>(name: N, id: string, input: WorkflowInputs[N]): WorkflowRun | undefined;
  cancel(id: string): void;
}

export type RunEnd = { readonly result: unknown } | { readonly failure: SwitchyardError };

export interface WorkflowRun {
  readonly done: Promise<RunEnd>;
  summary(): WorkflowSummary;
  readonly facts: WorkflowFacts;
  query(name: string): unknown;
  update(name: string, argument: unknown): unknown;
  cancel(): void;
  /** Cancels what it waits for on the clock, without telling the body. */
  forget(): void;
}

type UpdateHandler = { readonly handle: (argument: never) => unknown; readonly validate: ((argument: never) => void) | undefined };

/** True inside `shielded`, for everything awaited there. */
const shield = new AsyncLocalStorage<true>();

export function startRun<N extends WorkflowName>(world: World, { name, id, input }: { name: N; id: string; input: WorkflowInputs[N] }): WorkflowRun {
  const { clock, telemetry } = world;
  const trace = telemetry.active();
  const startedAtMs = clock.now();
  const description = describeWorkflow(name, input);
  const cancellation = new AbortController();
  const timers = new Set<() => void>();
  const updates = new Map<string, UpdateHandler>();
  const story = createStory(() => clock.now());
  const queries = new Map<string, () => unknown>([[storyQuery, () => story.text()]]);
  const conditions = new Set<() => void>();
  let status: WorkflowSummary['status'] = 'running';
  let closedAtMs: number | undefined;

  /** The signal that ends what is awaited here and now, or undefined inside a shield. */
  const signal = () => (shield.getStore() ? undefined : cancellation.signal);

  /** Waits for `setUp` to call back. Cancelled: stops waiting and throws. */
  function wait<T>(setUp: (finish: (value: T) => void) => () => void): Promise<T> {
    const cancelled = signal();
    return new Promise((resolve, reject) => {
      if (cancelled?.aborted) return reject(cancelledError(id));
      const end = () => {
        takeDown();
        timers.delete(takeDown);
        cancelled?.removeEventListener('abort', onCancel);
      };
      const onCancel = () => {
        end();
        reject(cancelledError(id));
      };
      cancelled?.addEventListener('abort', onCancel, { once: true });
      const takeDown = setUp((value) => {
        end();
        resolve(value);
      });
      timers.add(takeDown);
    });
  }

  const sleep = (delayMs: number) => wait<void>((finish) => clock.after(delayMs, finish));

  async function call<A extends ActivityName>(activity: A, given: unknown): Promise<unknown> {
    const policy = activityPolicies[activity];
    let heartbeat: unknown;
    const beat = (progress: unknown) => {
      heartbeat = asJson(progress);
    };
    for (let number = 1; ; number++) {
      if (signal()?.aborted) throw cancelledError(id);
      try {
        const host = await world.host();
        const cancelled = signal();
        if (cancelled?.aborted) throw cancelledError(id);
        const context = { workflowId: id, attempt: number, lastHeartbeat: heartbeat, heartbeat: beat };
        return await runAttempt(host, clock, telemetry, { activity, given, context, trace, cancelled });
      } catch (thrown) {
        if (thrown instanceof HostStopped) continue;
        const failure = thrown instanceof SwitchyardError ? thrown : new SwitchyardError('internal', String(thrown), { cause: thrown });
        if (failure.code === 'cancelled' || !failure.retryable || number === policy.attempts) throw failure;
        await sleep(backoffMs(policy, number));
      }
    }
  }

  const control: WorkflowControl = {
    workflowId: id,
    now: () => clock.now(),
    sleep,
    async condition(holds, timeoutMs) {
      if (holds()) return true;
      return wait<boolean>((finish) => {
        const check = () => holds() && finish(true);
        conditions.add(check);
        const cancelTimer = clock.after(timeoutMs, () => finish(holds()));
        return () => {
          conditions.delete(check);
          cancelTimer();
        };
      });
    },
    shielded: (run) => shield.run(true, run),
    handleUpdate: (update, handle, validate) => void updates.set(update, { handle, validate } as UpdateHandler),
    handleQuery: (query, handle) => void queries.set(query, handle),
    async child(childName, childId, childInput) {
      const cancelled = signal();
      if (cancelled?.aborted) throw cancelledError(id);
      const child = telemetry.within(trace, () => world.begin(childName, childId, childInput));
      if (!child) throw new SwitchyardError('workflow_failed', `a workflow ${childId} exists already`);
      const stop = () => child.cancel();
      cancelled?.addEventListener('abort', stop, { once: true });
      const end = await child.done;
      cancelled?.removeEventListener('abort', stop);
      if ('failure' in end) throw end.failure;
      return asJson(end.result) as never;
    },
    tell: (line) => story.tell(line),
    log: (message, fields) => telemetry.log.info(message, { workflow: id, ...fields }),
  };

  const act = new Proxy({} as ActivityCatalogue, {
    get: (_, activity: ActivityName) => (given: unknown) => call(activity, given),
  });

  async function run(): Promise<RunEnd> {
    // Like in Temporal, nothing runs before somebody hosts.
    await world.host();
    try {
      const result = await (bodies[name] as WorkflowBody<N>)(input, act, control);
      status = 'completed';
      return { result };
    } catch (thrown) {
      const failure = thrown instanceof SwitchyardError ? thrown : new SwitchyardError('internal', String(thrown), { cause: thrown });
      status = failure.code === 'cancelled' ? 'cancelled' : 'failed';
      if (status === 'failed') telemetry.log.error('workflow failed', { workflow: id, error: String(failure.stack) });
      return { failure };
    } finally {
      closedAtMs = clock.now();
    }
  }

  return {
    done: shield.exit(run),
    summary: () => ({ id, name, status, startedAtMs, closedAtMs, summary: description.summary }),
    facts: description.facts,
    query(query) {
      const handler = queries.get(query);
      if (!handler) throw new SwitchyardError('not_found', `workflow ${id} has no query ${query}`);
      return handler();
    },
    update(update, argument) {
      const handler = updates.get(update);
      if (!handler) throw new SwitchyardError('not_found', `workflow ${id} has no update ${update}`);
      handler.validate?.(argument as never);
      const answer = handler.handle(argument as never);
      for (const check of [...conditions]) check();
      return answer;
    },
    cancel: () => {
      if (status === 'running') cancellation.abort();
    },
    forget: () => {
      for (const takeDown of timers) takeDown();
      timers.clear();
    },
  };
}

function cancelledError(id: string): SwitchyardError {
  return new SwitchyardError('cancelled', `workflow ${id} was cancelled`);
}
