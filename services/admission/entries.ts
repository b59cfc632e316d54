// How requests enter the queue actor and how they leave it. Every end goes through `end`.
import { drained, retryAfterMs } from '../../core/admission/drain-rate.ts';
import type { QueueItem } from '../../core/admission/queue.ts';
import { startByMs } from '../../core/admission/slo.ts';
import { refusal } from '../../core/errors/switchyard-error.ts';
import { isContinuation } from '../../core/routing/candidate.ts';
import type { AdmitReply, Assignment, Refusal, RequestInfo } from '../../proto/gen/messages.ts';
import type { Entry, Turn, WaitOutcome } from './pool-state.ts';

export function itemOf({ config }: Turn['state'], request: RequestInfo): QueueItem {
  const { requestId, sloClass, priority, arrivalMs, fairnessId } = request;
  const continuation = isContinuation(request);
  return {
    requestId,
    sloClass,
    priority,
    arrivalMs,
    startByMs: startByMs(request, config.slo),
    expiresAtMs: continuation ? Number.POSITIVE_INFINITY : request.queueDeadlineMs,
    fairnessId: fairnessId === '' ? 'default-flow' : fairnessId,
    continuation,
    tokens: request.promptTokens + request.maxOutputTokens,
  };
}

export function enqueue(turn: Turn, entry: Entry): void {
  const { state, nowMs } = turn;
  const { requestId } = entry.request;
  entry.phase = 'queued';
  const shed = state.queue.add(itemOf(state, entry.request));
  if (!shed) return;
  const waitMs = retryAfterMs(state.drainRate, state.queue.size, nowMs);
  const message = `the queue of pool ${state.pool} is full`;
  if (shed.requestId === requestId) refuse(turn, requestId, refusal('queue_full', message, waitMs));
  else refuse(turn, shed.requestId, refusal('shed', `${message} and others go first`, waitMs));
}

/** Ends the wait with a no. */
export function refuse(turn: Turn, requestId: string, no: Refusal): void {
  end(turn, requestId, 'refused', no);
}

export function assign(turn: Turn, entry: Entry, assignment: Assignment, blocks: number): void {
  const { state, nowMs } = turn;
  const { requestId, epoch } = entry.request;
  entry.phase = 'assigned';
  entry.assignment = assignment;
  rememberAssigned(turn.state, requestId);
  const { instanceId, handOff } = assignment;
  const handOffInstanceId = handOff?.instanceId ?? '';
  state.fleet.account.book({ requestId, epoch: epoch + 1, instanceId, handOffInstanceId, blocks, computeTokens: 0, atMs: nowMs });
  state.drainRate = drained(state.drainRate, 1, nowMs);
  answerParked(turn, requestId, { outcome: 'assigned', assignment, limits: entry.limits });
  waited(turn, entry.request, { outcome: 'assigned', instanceId, waitMs: nowMs - entry.admittedAtMs });
}

function rememberAssigned({ assigned, entries, config }: Turn['state'], requestId: string): void {
  assigned.add(requestId);
  if (assigned.size <= config.maxAssigned) return;
  for (const oldest of assigned) {
    if (assigned.size <= config.maxAssigned) break;
    assigned.delete(oldest);
    entries.delete(oldest);
  }
}

/** Forgets the request, answers who waits for it, gives back its reservation, and remembers the answer for late repeats. */
export function end(turn: Turn, requestId: string, outcome: Exclude<WaitOutcome, 'assigned'>, no: Refusal): void {
  const { state } = turn;
  const entry = state.entries.get(requestId);
  state.entries.delete(requestId);
  state.assigned.delete(requestId);
  state.queue.remove(requestId);
  answerParked(turn, requestId, { outcome: 'refused', refusal: no, limits: entry?.limits ?? null });
  remember(turn, requestId, entry, no);
  if (!entry) return;
  // What a continuation has used so far is settled when it is done: giving back here would make it free.
  if (entry.reserved && !isContinuation(entry.request)) turn.effects.push({ type: 'refund', request: entry.request });
  if (entry.phase !== 'assigned') waited(turn, entry.request, { outcome, code: no.code, waitMs: turn.nowMs - entry.admittedAtMs });
}

function remember({ state, nowMs }: Turn, requestId: string, entry: Entry | undefined, no: Refusal): void {
  const refusedForGood = no.code === 'client_left' || no.code === 'cancelled';
  state.ended.delete(requestId);
  state.ended.set(requestId, {
    epoch: refusedForGood ? Number.POSITIVE_INFINITY : (entry?.request.epoch ?? 0),
    refusal: no,
    limits: entry?.limits ?? null,
    atMs: nowMs,
  });
  if (state.ended.size <= state.config.maxEnded) return;
  for (const oldest of state.ended.keys()) {
    if (state.ended.size <= state.config.maxEnded) break;
    state.ended.delete(oldest);
  }
}

export function waited(
  { effects }: Turn,
  request: RequestInfo,
  end: { outcome: WaitOutcome; waitMs: number; code?: string; instanceId?: string },
): void {
  effects.push({ type: 'waited', request, code: '', instanceId: '', ...end });
}

export type ReplyBody = Pick<AdmitReply, 'outcome'> & Partial<Omit<AdmitReply, 'meta' | 'outcome'>>;

export function answer({ state, effects }: Turn, ask: number, body: ReplyBody): void {
  effects.push({ type: 'answer', ask, reply: { queuePosition: 0, ownerEpoch: state.ownerEpoch ?? 0, ...body } });
}

export function answerParked(turn: Turn, requestId: string, body: ReplyBody): void {
  const { parked } = turn.state;
  const waiting = parked.get(requestId);
  if (!waiting) return;
  parked.delete(requestId);
  answer(turn, waiting.ask, body);
}

export function answerQueued(turn: Turn, requestId: string): void {
  const { state, nowMs } = turn;
  const queuePosition = Math.max(1, state.queue.positionOf(requestId, nowMs));
  answerParked(turn, requestId, { outcome: 'queued', queuePosition, limits: state.entries.get(requestId)?.limits ?? null });
}
