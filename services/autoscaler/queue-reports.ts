// What admission says of a pool's queue, newest first to count. Reports may be lost, repeated or late; they come every
// second at least.
import type { QueuedDemand } from '../../core/scaling/pool-view.ts';
import type { QueueStatus } from '../../proto/gen/messages.ts';

export interface QueueReport {
  readonly epoch: number;
  readonly version: number;
  /** When it came, this process's clock. */
  readonly takenAtMs: number;
  readonly demand: QueuedDemand;
}

/** The newer of what is known and what came: ordered by (epoch, version), unless nothing was heard for `maxAgeMs`. */
export function newerReport(known: QueueReport | undefined, status: QueueStatus, nowMs: number, maxAgeMs: number): QueueReport {
  const { epoch, version } = status;
  const isOlder = known !== undefined && (epoch < known.epoch || (epoch === known.epoch && version <= known.version));
  if (isOlder && nowMs - known.takenAtMs <= maxAgeMs) return known;
  const sum = (pick: (of: QueueStatus['classes'][number]) => number) => status.classes.reduce((total, of) => total + pick(of), 0);
  return { epoch, version, takenAtMs: nowMs, demand: { requests: sum((of) => of.requests), blocks: sum((of) => of.demandBlocks) } };
}

/** Undefined: too old to say anything. */
export function demandOf(report: QueueReport | undefined, nowMs: number, maxAgeMs: number): QueuedDemand | undefined {
  return report && nowMs - report.takenAtMs <= maxAgeMs ? report.demand : undefined;
}
