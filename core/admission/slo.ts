// SLO classes: their rank in the queue and their targets where a request names none.
import type { RequestInfo } from '../../proto/gen/messages.ts';

export const sloClasses = ['interactive', 'standard', 'batch'] as const;
export type SloClass = (typeof sloClasses)[number];

export interface SloTargets {
  readonly ttftMs: number;
  /** 0: none. */
  readonly tpotMs: number;
}

export const defaultSloTargets: Readonly<Record<SloClass, SloTargets>> = {
  interactive: { ttftMs: 1_000, tpotMs: 50 },
  standard: { ttftMs: 5_000, tpotMs: 100 },
  batch: { ttftMs: 60_000, tpotMs: 0 },
};

/** 0 is served first. */
export function classRank(sloClass: SloClass): number {
  return sloClasses.indexOf(sloClass);
}

/** The request's own targets, or those of its class. */
export function targetsOf(request: RequestInfo, defaults: Readonly<Record<SloClass, SloTargets>> = defaultSloTargets): SloTargets {
  const { ttftMs, tpotMs } = defaults[request.sloClass];
  return { ttftMs: request.ttftSloMs || ttftMs, tpotMs: request.tpotSloMs || tpotMs };
}

/** When the request should have its first token, Unix ms: what its flow is ordered by. */
export function startByMs(request: RequestInfo, defaults: Readonly<Record<SloClass, SloTargets>> = defaultSloTargets): number {
  return request.arrivalMs + targetsOf(request, defaults).ttftMs;
}
