// The request's dealings with admission: one question at a time, repeated until an instance is assigned, the answer is
// no, or the time is over. Any question or answer may be lost, repeated or late; the epoch says which assignment counts.
import type { AdmitReply, Assignment, RequestInfo } from '../../proto/gen/messages.ts';
import { isEngineFault } from '../engine/engine-health.ts';
import { type Code, codes, isCode } from '../errors/codes.ts';
import { cannotContinue } from './continuing.ts';
import { fail } from './ending.ts';
import { isAsking, nothing, type RequestState, type Step } from './request-state.ts';

/** These say that nobody was there to decide, so the question is put again. */
const notDecided: ReadonlySet<string> = new Set([
  'not_owner',
  'no_responders',
  'timeout',
  'bus_unavailable',
  'store_unavailable',
  'mailbox_full',
  'draining',
  'deadline_exceeded',
]);

export function ask(state: RequestState, nowMs: number): Step {
  const asking: RequestState = { ...state, ask: state.ask + 1, askedAtMs: nowMs, askAtMs: undefined };
  return [asking, [{ type: 'ask', ask: asking.ask, info: requestInfo(asking, nowMs) }]];
}

export function admitReplied(state: RequestState, message: { ask: number; reply: AdmitReply; capabilities: readonly string[] }, nowMs: number): Step {
  if (!isAsking(state.phase)) return [state, nothing];
  const { reply } = message;
  // An assignment counts whichever question it answers, as long as it is for the epoch that comes next.
  if (reply.outcome === 'assigned' && reply.assignment?.epoch === state.epoch + 1)
    return assigned(state, reply.assignment, message.capabilities, nowMs);
  if (message.ask !== state.ask) return [state, nothing];
  if (reply.outcome === 'queued') return queued(state, reply.queuePosition, nowMs);
  if (reply.outcome === 'assigned') return askLater(state, nowMs);

  const code = known(reply.refusal?.code);
  const no = { code, message: reply.refusal?.message ?? 'refused', retryAfterMs: reply.refusal?.retryAfterMs ?? 0 };
  // Without a token there is nothing to lose by coming back later, which is what failing engines ask for.
  const later = state.log.length === 0 && isEngineFault(code);
  const goOn = notDecided.has(code) || (state.phase === 'recovering' && codes[code].retryable && !later);
  return goOn ? askLater({ ...state, lastNo: no }, nowMs) : fail(state, no, 'nobody');
}

export function admitFailed(state: RequestState, message: { ask: number; code: Code; message: string }, nowMs: number): Step {
  if (!isAsking(state.phase) || message.ask !== state.ask) return [state, nothing];
  const no = { code: message.code, message: message.message, retryAfterMs: 0 };
  return codes[message.code].retryable ? askLater({ ...state, lastNo: no }, nowMs) : fail(state, no);
}

/** The question that is under way may sit with the old owner until it times out: put it again at once. */
export function queueOwnerChanged(state: RequestState, nowMs: number): Step {
  return isAsking(state.phase) ? ask(state, nowMs) : [state, nothing];
}

export function wakeWhileAsking(state: RequestState, nowMs: number): Step {
  if (nowMs >= state.askUntilMs) return giveUp(state);
  return state.askAtMs !== undefined && nowMs >= state.askAtMs ? ask(state, nowMs) : [state, nothing];
}

function assigned(state: RequestState, assignment: Assignment, capabilities: readonly string[], nowMs: number): Step {
  const { epoch, instanceId, address } = assignment;
  const unmet = cannotContinue(state, capabilities);
  if (unmet) {
    return fail(state, { code: 'cannot_continue', message: `instance ${instanceId} cannot continue a request with ${unmet}` });
  }
  const opening: RequestState = {
    ...state,
    phase: 'opening',
    epoch,
    instanceId,
    address,
    capabilities,
    goesOnAt: assignment.handOff?.instanceId ?? '',
    askAtMs: undefined,
    queuePosition: 0,
    lastNo: undefined,
    lastHeardMs: nowMs,
    lookAtMs: nowMs + state.limits.firstTokenMs,
  };
  return [
    opening,
    [{ type: 'open', epoch, instanceId, address, log: state.log, carry: state.carry, reservationId: '', handOff: assignment.handOff ?? undefined }],
  ];
}

function queued(state: RequestState, queuePosition: number, nowMs: number): Step {
  const waiting: RequestState = { ...state, phase: state.phase === 'recovering' ? 'recovering' : 'queued', queuePosition, lastNo: undefined };
  // Admission holds a question back for a while. One that answers at once would be asked in a tight loop.
  return nowMs - state.askedAtMs < state.limits.askAgainMs ? askLater(waiting, nowMs) : ask(waiting, nowMs);
}

function askLater(state: RequestState, nowMs: number): Step {
  return [{ ...state, askAtMs: nowMs + state.limits.askAgainMs }, nothing];
}

function giveUp(state: RequestState): Step {
  const no = state.lastNo;
  if (state.phase === 'recovering') {
    const message = `no instance could continue the request in time${no ? `: ${no.message}` : ''}`;
    return fail(state, { code: 'stream_interrupted', message, retryAfterMs: no?.retryAfterMs || 1000 });
  }
  if (no) return fail(state, { ...no, retryAfterMs: no.retryAfterMs || 1000 });
  if (state.phase === 'queued') return fail(state, { code: 'queue_timeout', message: 'no room within the queue deadline', retryAfterMs: 1000 });
  return fail(state, { code: 'timeout', message: 'admission did not answer', retryAfterMs: 1000 });
}

function requestInfo(state: RequestState, nowMs: number): RequestInfo {
  const avoiding = state.phase === 'recovering' && nowMs - state.recoveringSinceMs < state.limits.avoidMs;
  return { ...state.facts.info, generatedTokens: state.log.length, avoidInstances: avoiding ? state.failedInstances : [], epoch: state.epoch };
}

function known(code: string | undefined): Code {
  return isCode(code) ? code : 'internal';
}
