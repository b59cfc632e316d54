// What waits in a queue, per SLO class, in requests and in KV blocks: what autoscaler, operators and dashboards see of it.
import type { QueuedClass, RequestInfo } from '../../proto/gen/messages.ts';
import { blocksWanted, isContinuation } from '../routing/candidate.ts';
import { type SloClass, sloClasses } from './slo.ts';

/** Every class, first served first, zeros included. `blockTokens` 0: no instance is known, and demand is 0. */
export function queuedClasses(waiting: Iterable<RequestInfo>, blockTokens: number): QueuedClass[] {
  const classes = new Map(sloClasses.map((sloClass): [SloClass, QueuedClass] => [sloClass, noneOf(sloClass)]));
  for (const request of waiting) {
    const known = classes.get(request.sloClass)!;
    known.requests += 1;
    if (isContinuation(request)) known.continuations += 1;
    if (blockTokens > 0) known.demandBlocks += blocksWanted(request, blockTokens);
    if (known.oldestArrivalMs === 0 || request.arrivalMs < known.oldestArrivalMs) known.oldestArrivalMs = request.arrivalMs;
  }
  return [...classes.values()];
}

function noneOf(sloClass: SloClass): QueuedClass {
  return { sloClass, requests: 0, continuations: 0, demandBlocks: 0, oldestArrivalMs: 0 };
}

/** Whether a reader of both would decide differently: the oldest arrival alone changes nothing. */
export function sameQueue(a: readonly QueuedClass[], b: readonly QueuedClass[]): boolean {
  return a.every((one, index) => {
    const other = b[index];
    return one.requests === other?.requests && one.continuations === other.continuations && one.demandBlocks === other.demandBlocks;
  });
}
