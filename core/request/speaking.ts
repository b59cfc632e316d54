// What an instance says: which of its tokens count. Only the current epoch does; within it every index counts once and
// in order. An event that overlaps the log in part cannot be split, because its bytes are one, so it is a failure too.
import type { Refusal, StreamEvent } from '../../proto/gen/messages.ts';
import { asideRetryMs, isEngineFault } from '../engine/engine-health.ts';
import { type Code, isCode } from '../errors/codes.ts';
import { end, fail } from './ending.ts';
import { recover } from './recovery.ts';
import { isSpeaking, nothing, type RequestEffect, type RequestState, type Step } from './request-state.ts';
import { appendPieces, appendTokens } from './token-log.ts';

const staleEpoch: readonly RequestEffect[] = [{ type: 'dropped', reason: 'stale_epoch' }];
/** How often one request is tried again that engines turn away: three of them have said no then, or two and one twice. */
const triedAgainAtMost = 2;
const repeated: readonly RequestEffect[] = [{ type: 'dropped', reason: 'repeated' }];

export function spoken(state: RequestState, event: StreamEvent, nowMs: number, noRetry = false): Step {
  if (event.epoch !== state.epoch || !isSpeaking(state.phase)) return [state, staleEpoch];
  if (event.error) return engineFailed(state, event.error, nowMs, noRetry);

  const have = state.log.length;
  const count = countOf(event);
  if (event.finishReason === '') {
    if (count === 0) return leadIn(state, event, nowMs);
    if (event.index + count <= have) return [{ ...state, lastHeardMs: nowMs }, repeated];
  }
  if (event.index !== have) return recover(state, 'gap', nowMs);
  // Pieces of text are not tokens: a server may cut its text finer than that.
  if (!event.pieces && state.log.exact && have + count > state.facts.info.maxOutputTokens) {
    return fail(state, { code: 'engine_error', message: `instance ${state.instanceId} produced more tokens than were asked for` });
  }
  if (event.finishReason !== '' && !state.facts.streams && event.finalBody.length === 0) {
    return fail(state, { code: 'engine_error', message: `instance ${state.instanceId} ended without an answer` });
  }
  return event.finishReason === '' ? tokens(state, event, nowMs) : finished(state, event, nowMs);
}

function tokens(state: RequestState, event: StreamEvent, nowMs: number): Step {
  const next = heard(state, event, nowMs);
  const effects: RequestEffect[] = [];
  if (state.firstTokenMs === 0) effects.push({ type: 'note', event: 'first_token', reason: '' });
  if (isForClient(state, event)) effects.push({ type: 'forward', data: event.data });
  return [next, effects];
}

function finished(state: RequestState, event: StreamEvent, nowMs: number): Step {
  const next: RequestState = { ...(countOf(event) > 0 ? heard(state, event, nowMs) : state), usage: event.usage ?? undefined };
  const effects: RequestEffect[] = [];
  if (state.firstTokenMs === 0 && next.firstTokenMs !== 0) effects.push({ type: 'note', event: 'first_token', reason: '' });
  effects.push({ type: 'complete', data: event.data, finalBody: event.finalBody });
  const ending = { outcome: 'completed', code: '', message: '', retryAfterMs: 0, finishReason: event.finishReason } as const;
  return end(next, ending, effects, 'nobody');
}

/**
 * Bytes before the first token, a role for instance: they go out once, whichever instance sends them. Without any it is a sign
 * of life.
 */
function leadIn(state: RequestState, event: StreamEvent, nowMs: number): Step {
  if (event.data.length === 0) return [{ ...state, lastHeardMs: nowMs }, nothing];
  const first = !state.spoke && state.log.length === 0 && isForClient(state, event);
  return first
    ? [{ ...state, spoke: true, lastHeardMs: nowMs }, [{ type: 'forward', data: event.data }]]
    : [{ ...state, lastHeardMs: nowMs }, repeated];
}

/** Bytes of a stream for a client that does not stream would spoil its one answer. */
function isForClient(state: RequestState, event: StreamEvent): boolean {
  return event.data.length > 0 && state.facts.streams;
}

/** Tokens, or the pieces that stand for them. */
function countOf(event: StreamEvent): number {
  return event.pieces?.count ?? event.tokenIds.length;
}

function heard(state: RequestState, event: StreamEvent, nowMs: number): RequestState {
  const streaming = state.phase === 'streaming';
  const { log } = state;
  return {
    ...state,
    phase: 'streaming',
    log: event.pieces ? appendPieces(log, event.pieces.count, event.text) : appendTokens(log, event.tokenIds, event.text),
    carry: event.carry ?? state.carry,
    spoke: true,
    lastHeardMs: nowMs,
    lookAtMs: streaming ? state.lookAtMs : Math.min(state.lookAtMs, nowMs + state.limits.stallMs),
    firstTokenMs: state.firstTokenMs === 0 ? nowMs : state.firstTokenMs,
    lastTokenMs: nowMs,
  };
}

/** True: trying this request again counts against the budget, for an engine answered it with a fault instead of tokens. */
export function isTurnedAway({ log, phase }: RequestState, code: string): boolean {
  return log.length === 0 && phase !== 'moving' && isEngineFault(code);
}

/** A failed take-over is never final: the token log is still whole. */
function engineFailed(state: RequestState, error: Refusal, nowMs: number, noRetry: boolean): Step {
  const code: Code = isCode(error.code) ? error.code : 'engine_error';
  if (isTurnedAway(state, code) && (noRetry || state.failovers >= triedAgainAtMost)) {
    return fail(state, { code, message: error.message, retryAfterMs: error.retryAfterMs || asideRetryMs }, 'nobody');
  }
  if (error.retryable || state.phase === 'moving') return recover(state, code, nowMs);
  return fail(state, { code, message: error.message, retryAfterMs: error.retryAfterMs }, 'nobody');
}
