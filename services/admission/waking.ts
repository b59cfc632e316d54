// What time does to the queue: questions are answered, deadlines pass, forgotten requests lapse.
import { retryAfterMs } from '../../core/admission/drain-rate.ts';
import { asideRetryMs } from '../../core/engine/engine-health.ts';
import { refusal } from '../../core/errors/switchyard-error.ts';
import { answerQueued, refuse, waited } from './entries.ts';
import type { Entry, PoolState, Turn } from './pool-state.ts';
import { nextTellMs } from './telling.ts';

/** How often deadlines are looked at while there is anything to look at. */
const sweepEveryMs = 100;

export function passTime(turn: Turn): void {
  const { state, nowMs } = turn;
  for (const [requestId, { answerByMs }] of state.parked) {
    if (answerByMs > nowMs) continue;
    answerQueued(turn, requestId);
  }
  if (nowMs < state.sweepAtMs) return;
  state.sweepAtMs = nowMs + sweepEveryMs;
  for (const { requestId } of state.queue.expired(nowMs)) {
    refuse(turn, requestId, refusal('queue_timeout', 'no room within the queue deadline', retryAfterMs(state.drainRate, state.queue.size, nowMs)));
  }
  refuseWhileUnwell(turn);
  for (const [requestId, entry] of state.entries) {
    const silentMs = nowMs - entry.askedAtMs;
    if (entry.phase === 'assigned') {
      // The account goes on counting it; only the answer to a late question is forgotten.
      if (silentMs < state.config.assignedMs) continue;
      state.entries.delete(requestId);
      state.assigned.delete(requestId);
    } else if (entry.phase !== 'routing' && !state.parked.has(requestId) && silentMs >= state.config.lapseMs) {
      lapse(turn, requestId, entry);
    }
  }
  for (const [requestId, { atMs }] of state.ended) {
    if (nowMs - atMs < state.config.endedMs) break;
    state.ended.delete(requestId);
  }
}

/** Called with every change of the fleet. */
export function noteWellness(state: PoolState, nowMs: number): void {
  const code = state.fleet.setAside(state.pool);
  if (code === undefined) state.unwell = undefined;
  else state.unwell = { code, sinceMs: state.unwell?.sinceMs ?? nowMs };
}

/**
 * While every engine of the pool answers with a fault, clients are told to come back later. What takes no longer than
 * `unwellMs` they do not notice, and what has given tokens goes on waiting: its client would lose them.
 */
function refuseWhileUnwell(turn: Turn): void {
  const { unwell, config, pool, entries } = turn.state;
  if (!unwell || turn.nowMs - unwell.sinceMs < config.unwellMs) return;
  for (const [requestId, { phase, request }] of entries) {
    if (phase !== 'queued' || request.generatedTokens > 0) continue;
    refuse(turn, requestId, refusal(unwell.code, `every engine of pool ${pool} turns requests away`, asideRetryMs));
  }
}

/**
 * Its gateway is gone, or its questions were lost. In case it comes back nothing else is undone: it then takes its old
 * place, with its reservation, which otherwise runs out by itself.
 */
function lapse(turn: Turn, requestId: string, entry: Entry): void {
  turn.state.entries.delete(requestId);
  turn.state.queue.remove(requestId);
  waited(turn, entry.request, { outcome: 'left', code: 'client_left', waitMs: turn.nowMs - entry.admittedAtMs });
}

/** The earliest time at which something happens by itself. */
export function nextWakeMs(state: PoolState, nowMs: number): number | undefined {
  if (state.ownerEpoch === undefined) return undefined;
  const times: number[] = [nextTellMs(state)];
  for (const { answerByMs } of state.parked.values()) {
    times.push(answerByMs);
    break;
  }
  if (state.entries.size > 0 || state.ended.size > 0) times.push(state.sweepAtMs);
  if (state.queue.size > 0 && !state.batch) {
    if (state.dispatchAtMs > nowMs) times.push(state.dispatchAtMs);
    const readyMs = state.queue.nextReadyMs(nowMs);
    if (readyMs !== undefined) times.push(readyMs);
  }
  return Math.min(...times);
}
