// How a request ends. Every end goes through `end`, which is why `done` is said once.
import type { Code } from '../errors/codes.ts';
import { type Ending, isAsking, isSpeaking, type RequestEffect, type RequestState, type Step } from './request-state.ts';

/** Who is told to stop: the engine or the queue, with the reason for the engine; or nobody, who has stopped already. */
export type Stop = Extract<RequestEffect, { type: 'cancel' }>['reason'] | 'nobody';

export function end(state: RequestState, ending: Ending, effects: readonly RequestEffect[], stop: Stop): Step {
  return [{ ...state, phase: ending.outcome, ending, askAtMs: undefined }, [...stopWork(state, stop), ...effects, { type: 'done', ending }]];
}

/** Ends with an error that the client sees. Before any instance was assigned it is a refusal. */
export function fail(state: RequestState, failure: { code: Code; message: string; retryAfterMs?: number }, stop: Stop = 'superseded'): Step {
  const { code, message, retryAfterMs = 0 } = failure;
  const ending: Ending = { outcome: state.epoch === 0 ? 'refused' : 'failed', code, message, retryAfterMs, finishReason: '' };
  return end(state, ending, [{ type: 'failClient', code, message, retryAfterMs }], stop);
}

export function clientLeft(state: RequestState): Step {
  const ending: Ending = { outcome: 'aborted', code: 'client_left', message: 'the client left', retryAfterMs: 0, finishReason: '' };
  return end(state, ending, [], 'client_left');
}

/** The bytes that the client has not taken reached their limit: it gets no more, and the engine stops working for it. */
export function clientTooSlow(state: RequestState): Step {
  return fail(state, { code: 'client_too_slow', message: 'the client read more slowly than the answer came' }, 'client_left');
}

/** The gateway stops and its time to wait is over. */
export function cutShort(state: RequestState): Step {
  return fail(state, { code: 'draining', message: 'the gateway is shutting down', retryAfterMs: 1000 }, 'deadline');
}

export function stopWork(state: RequestState, stop: Stop): RequestEffect[] {
  if (stop === 'nobody') return [];
  if (isSpeaking(state.phase)) return [{ type: 'cancel', epoch: state.epoch, reason: stop }];
  return isAsking(state.phase) ? [{ type: 'leaveQueue' }] : [];
}
