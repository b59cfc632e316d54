// The hand-over at the gateway, as everybody does it who drives a move: the worker of a workflow, and the agent that gives a request
// away itself.
import type { HandOverReply } from '../../proto/gen/messages.ts';
import { type Clock, sleep } from '../ports/clock.ts';

export interface Gateway {
  handOver(timeoutMs: number): Promise<HandOverReply>;
  /** A final question: after "not committed" a hand-over that comes later is refused. */
  finalOutcome(): Promise<HandOverReply>;
}

/** A hand-over that cannot be answered within this much of the pause lease is not begun. */
const shortestMs = 20;
const betweenQuestionsMs = 100;

/**
 * It may only be carried out while the source stands still: its time limit, ms, is what is left of the pause lease, and at most
 * `mostMs`. Undefined: too little is left to begin.
 */
export function handOverLimit(nowMs: number, pausedFromMs: number, pauseLeaseMs: number, mostMs: number): number | undefined {
  const leftMs = Math.min(mostMs, pausedFromMs + pauseLeaseMs - nowMs);
  return leftMs < shortestMs ? undefined : leftMs;
}

/**
 * An answer that is lost leaves open whether the hand-over was carried out, or is still on its way: the outcome is asked for, up to
 * `outcomeMs`. Rejects with what the last question failed with.
 */
export async function handOverForSure(
  clock: Clock,
  gateway: Gateway,
  limits: { readonly withinMs: number; readonly outcomeMs: number },
  lost: (thrown: unknown) => void = () => {},
): Promise<HandOverReply> {
  try {
    return await gateway.handOver(limits.withinMs);
  } catch (thrown) {
    lost(thrown);
  }
  const untilMs = clock.now() + limits.outcomeMs;
  for (;;) {
    try {
      return await gateway.finalOutcome();
    } catch (thrown) {
      if (clock.now() >= untilMs) throw thrown;
      await sleep(clock, betweenQuestionsMs);
    }
  }
}

/** Empty when committed. */
export function whyNotCommitted({ outcome, refusal }: HandOverReply): string {
  if (outcome === 'committed') return '';
  return refusal?.code ?? (outcome === 'unknown_request' ? 'unknown_request' : 'stale_epoch');
}
