// One attempt at an activity in the in-memory twin: span, time limit, cancellation, and a host that may stop under it.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { type ActivityImplementations, type ActivityName, activityPolicies } from '../../core/workflows/activities.ts';
import type { ActivityContext } from '../../core/workflows/control.ts';
import type { Clock } from '../ports/clock.ts';
import type { Telemetry, TraceContext } from '../ports/telemetry.ts';
import { asJson } from './memory-values.ts';

/** A process that runs activities. */
export interface Host {
  readonly activities: ActivityImplementations;
  readonly stopping: AbortController;
  readonly running: Set<Promise<unknown>>;
}

/** The host stopped before the activity ended. Not a failure of the activity: another host tries it. */
export class HostStopped extends Error {}

export interface Attempt {
  readonly activity: ActivityName;
  readonly given: unknown;
  readonly context: Omit<ActivityContext, 'signal'>;
  readonly trace: TraceContext | undefined;
  /** Aborts when the workflow is cancelled; undefined where it is shielded. */
  readonly cancelled: AbortSignal | undefined;
}

/** @throws what the activity throws, SwitchyardError `timeout`, or HostStopped */
export async function runAttempt(host: Host, clock: Clock, telemetry: Telemetry, attempt: Attempt): Promise<unknown> {
  const { activity, given, cancelled } = attempt;
  const { timeoutMs } = activityPolicies[activity];
  const abort = new AbortController();
  const context: ActivityContext = { ...attempt.context, signal: abort.signal };
  const run = host.activities[activity] as (context: ActivityContext, input: unknown) => Promise<unknown>;
  const attributes = { 'switchyard.workflow.id': context.workflowId, 'switchyard.attempt': context.attempt };
  const work = telemetry.within(attempt.trace, () =>
    telemetry.span(`workflow.${activity}`, { attributes }, () => Promise.resolve().then(() => run(context, asJson(given)))),
  );
  const settled = work.then(asJson);
  host.running.add(settled);

  let undo = () => {};
  const cutShort = new Promise<never>((_, reject) => {
    const onCancel = () => abort.abort();
    const onStop = () => {
      abort.abort();
      reject(new HostStopped());
    };
    const cancelTimeout = clock.after(timeoutMs, () => {
      abort.abort();
      reject(new SwitchyardError('timeout', `activity ${activity} took longer than ${timeoutMs} ms`));
    });
    cancelled?.addEventListener('abort', onCancel, { once: true });
    host.stopping.signal.addEventListener('abort', onStop, { once: true });
    undo = () => {
      cancelTimeout();
      cancelled?.removeEventListener('abort', onCancel);
      host.stopping.signal.removeEventListener('abort', onStop);
    };
  });
  try {
    return await Promise.race([settled, cutShort]);
  } finally {
    undo();
    settled
      .catch(() => {})
      .finally(() => host.running.delete(settled))
      .catch(() => {});
  }
}
