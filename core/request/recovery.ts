// The instance that spoke for a request has failed: ask for another one and continue from the token log, if that is
// honest and has not happened too often.
import { ask } from './asking.ts';
import { cannotContinue } from './continuing.ts';
import { fail, stopWork } from './ending.ts';
import { nothing, type RequestState, type Step } from './request-state.ts';

/** `why` is one word for metrics and traces. */
export function recover(state: RequestState, why: string, nowMs: number): Step {
  const unmet = cannotContinue(state, state.capabilities);
  if (unmet) {
    const message = `instance ${state.instanceId} failed (${why}), and a request with ${unmet} cannot be continued elsewhere from its tokens`;
    return fail(state, { code: 'cannot_continue', message });
  }
  if (state.failovers >= state.limits.maxFailovers) {
    const message = `instance ${state.instanceId} failed (${why}) after ${state.failovers} fail-overs`;
    return fail(state, { code: 'stream_interrupted', message, retryAfterMs: 1000 });
  }
  const known = state.failedInstances.includes(state.instanceId);
  const [asking, question] = ask(
    {
      ...state,
      phase: 'recovering',
      failovers: state.failovers + 1,
      failedInstances: known ? state.failedInstances : [...state.failedInstances, state.instanceId],
      recoveringSinceMs: nowMs,
      askUntilMs: nowMs + state.limits.recoverMs,
      queuePosition: 0,
      lastNo: undefined,
    },
    nowMs,
  );
  return [asking, [...stopWork(state, 'superseded'), { type: 'note', event: 'failover', reason: why }, ...question]];
}

/** Whether the stream has been silent for too long. The look is put off while tokens come. */
export function wakeWhileSpeaking(state: RequestState, nowMs: number): Step {
  if (nowMs < state.lookAtMs) return [state, nothing];
  const limitMs = state.phase === 'opening' ? state.limits.firstTokenMs : state.limits.stallMs;
  const stalledAtMs = state.lastHeardMs + limitMs;
  return stalledAtMs <= nowMs ? recover(state, 'stalled', nowMs) : [{ ...state, lookAtMs: stalledAtMs }, nothing];
}
