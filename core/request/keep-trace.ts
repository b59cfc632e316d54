// Whether the trace of a request is worth exporting whatever the sampler said: it failed, moved otherwise than it was placed to, was
// continued elsewhere, or was slow. May be asked at any time of the request's life; the earlier the answer, the more of the trace is still there.
import type { RequestState } from './request-state.ts';

export interface SlowLimits {
  /** A first token later than this is slow, where the request has no target of its own. */
  readonly slowTtftMs: number;
  /** The same for the time per output token after the first. */
  readonly slowTpotMs: number;
}

export type KeepTrace = 'failed' | 'failed_over' | 'moved' | 'slow' | 'refused';

export function whyKeepTrace(state: RequestState, limits: SlowLimits): KeepTrace | undefined {
  if (state.ending?.outcome === 'failed') return 'failed';
  if (state.failovers > 0) return 'failed_over';
  if (state.migrations > state.handOffs) return 'moved';
  if (state.ending?.outcome === 'refused') return 'refused';
  return isSlow(state, limits) ? 'slow' : undefined;
}

/** Time per token counts at the end: one late token in the middle of an answer does not make it slow. */
function isSlow({ facts, firstTokenMs, lastTokenMs, log, ending }: RequestState, limits: SlowLimits): boolean {
  if (firstTokenMs === 0) return false;
  const { arrivalMs, ttftSloMs, tpotSloMs } = facts.info;
  if (firstTokenMs - arrivalMs > (ttftSloMs || limits.slowTtftMs)) return true;
  return ending !== undefined && log.length > 1 && (lastTokenMs - firstTokenMs) / (log.length - 1) > (tpotSloMs || limits.slowTpotMs);
}
