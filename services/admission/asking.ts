// A gateway asks for a place. It asks again, under the same request id, until the answer is final: any question or
// answer may be lost, repeated or late, and only (request id, epoch) counts.
import { retryAfterMs } from '../../core/admission/drain-rate.ts';
import { refusal } from '../../core/errors/switchyard-error.ts';
import { isContinuation } from '../../core/routing/candidate.ts';
import { healthCodes } from '../../core/routing/fleet-table.ts';
import type { Assignment, Refusal, RequestInfo } from '../../proto/gen/messages.ts';
import { answer, answerQueued, end, enqueue, refuse, waited } from './entries.ts';
import type { Entry, PoolMessage, PoolState, Turn } from './pool-state.ts';

/** Told to the router with a batch. It hears of all of them by itself, a moment sooner or later. */
const maxHeardEnded = 256;

export function asked(turn: Turn, { ask, request, answerByMs }: Extract<PoolMessage, { type: 'ask' }>): void {
  const { state, nowMs } = turn;
  const { requestId } = request;
  if (state.ownerEpoch === undefined) {
    turn.effects.push({ type: 'notOwner', ask });
    return;
  }
  const ended = state.ended.get(requestId);
  if (ended && request.epoch <= ended.epoch) {
    answer(turn, ask, { outcome: 'refused', refusal: ended.refusal, limits: ended.limits });
    return;
  }
  const known = state.entries.get(requestId);
  if (known?.assignment && answerAssigned(turn, ask, request, known, known.assignment)) return;

  const no = known ? undefined : noRoomFor(turn, request);
  if (no) {
    answer(turn, ask, { outcome: 'refused', refusal: no });
    waited(turn, request, { outcome: 'refused', code: no.code, waitMs: 0 });
    return;
  }
  const entry = known ? askedAgain(state, known, request) : newEntry(request, nowMs);
  entry.askedAtMs = nowMs;
  state.entries.set(requestId, entry);
  // One question waits per request; the one before it is answered now.
  answerQueued(turn, requestId);
  state.parked.set(requestId, { ask, answerByMs });
  proceed(turn, entry);
}

/** True when the question is answered: with the same assignment again, or as one from the past. */
function answerAssigned(turn: Turn, ask: number, request: RequestInfo, entry: Entry, assignment: Assignment): boolean {
  const ahead = request.epoch + 1 - assignment.epoch;
  if (ahead < 0) {
    answer(turn, ask, { outcome: 'refused', refusal: refusal('stale_epoch', `epoch ${assignment.epoch} has been assigned`) });
    return true;
  }
  if (ahead > 0 || !isAlive(turn.state, assignment.instanceId)) return false;
  entry.askedAtMs = turn.nowMs;
  answer(turn, ask, { outcome: 'assigned', assignment, limits: entry.limits });
  return true;
}

function isAlive(state: PoolState, instanceId: string): boolean {
  const place = state.fleet.placeOf(instanceId);
  return place !== undefined && healthCodes[place.table.health[place.row]!] !== 'dead';
}

/**
 * Undefined: there is room to remember it, and time left to wait. A continuation is always let in: it was running. The
 * ledger may be asked about as many as may wait; the queue itself sheds its worst, whoever comes.
 */
function noRoomFor({ state, nowMs }: Turn, request: RequestInfo): Refusal | undefined {
  if (isContinuation(request)) return undefined;
  const waitMs = retryAfterMs(state.drainRate, state.queue.size, nowMs);
  if (request.queueDeadlineMs <= nowMs) return refusal('queue_timeout', 'no room within the queue deadline', waitMs);
  if (state.entries.size - state.assigned.size < 2 * state.config.maxQueued) return undefined;
  return refusal('queue_full', `pool ${state.pool} has too many requests in flight`, waitMs);
}

function newEntry(request: RequestInfo, nowMs: number): Entry {
  return { request, phase: 'new', admittedAtMs: nowMs, askedAtMs: nowMs, reserved: false, limits: null, assignment: undefined };
}

/** The request as it is now. One that had a place, here or through an earlier owner, and lost it begins again, at the head. */
function askedAgain(state: PoolState, entry: Entry, request: RequestInfo): Entry {
  const { requestId } = request;
  const { reserved, limits } = entry;
  if (entry.assignment) {
    state.assigned.delete(requestId);
    state.fleet.account.forget(requestId);
    return { ...newEntry(request, entry.admittedAtMs), reserved, limits };
  }
  if (request.epoch < entry.request.epoch) return entry;
  const failedElsewhere = isContinuation(request) && !isContinuation(entry.request) && entry.phase !== 'routing';
  if (failedElsewhere) {
    state.queue.remove(requestId);
    return { ...newEntry(request, entry.admittedAtMs), reserved, limits };
  }
  entry.request = { ...request, traceparent: entry.request.traceparent };
  return entry;
}

/** Limits are reserved once, at the first admission. */
function proceed(turn: Turn, entry: Entry): void {
  if (entry.phase !== 'new') return;
  const { request } = entry;
  if (request.keyId === '' || entry.reserved || isContinuation(request)) {
    enqueue(turn, entry);
    return;
  }
  entry.phase = 'reserving';
  turn.effects.push({ type: 'reserve', request });
}

/** What the ledger said. */
export function reserved(turn: Turn, { request, held, limits, refusal: no }: Extract<PoolMessage, { type: 'reserved' }>): void {
  const { requestId } = request;
  const entry = turn.state.entries.get(requestId);
  if (!entry) {
    // It left while the ledger was asked. A request that another owner has now keeps its reservation.
    if (held && turn.state.ended.has(requestId)) turn.effects.push({ type: 'refund', request });
    return;
  }
  entry.limits = limits ?? entry.limits;
  entry.reserved ||= held;
  if (entry.phase !== 'reserving') return;
  if (no) refuse(turn, requestId, no);
  else enqueue(turn, entry);
}

/** It takes no room any more, and the router is to know that no later than we make use of it. */
function takeOff({ state, nowMs }: Turn, requestId: string): void {
  state.fleet.account.done(requestId, nowMs);
  if (state.heardEnded.push(requestId) > maxHeardEnded) state.heardEnded.shift();
}

/** The client left before it got a place. May come before the question itself. */
export function left(turn: Turn, requestId: string): void {
  takeOff(turn, requestId);
  end(turn, requestId, 'left', refusal('client_left', 'the client left the queue'));
}

/** The request has ended, wherever it was; the ledger is settled from the recorded event. */
export function done(turn: Turn, requestId: string): void {
  takeOff(turn, requestId);
  const entry = turn.state.entries.get(requestId);
  if (entry) entry.reserved = false;
  end(turn, requestId, 'left', refusal('cancelled', 'the request has ended'));
}
