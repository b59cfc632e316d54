// Freeness: how many more steps an instance can decode before its KV memory is full (papers: Llumnix).
// Two of them, on purpose: dispatch counts everything that is queued, de-fragmentation only the head of the queue.
import type { InstanceStatus } from '../../proto/gen/messages.ts';

/** Room kept for sequences of high priority, so that others move away from them. */
export interface PriorityHeadroom {
  /** Sequences with at least this priority are high. */
  readonly highPriority: number;
  /** Blocks of headroom that an instance's high sequences share. 0: none. */
  readonly headroomBlocks: number;
}

const noHeadroom: PriorityHeadroom = { highPriority: 1, headroomBlocks: 0 };

/** Virtual usage: blocks that count as used although nothing is stored in them. */
function headroomBlocksOf(status: InstanceStatus, headroom: PriorityHeadroom): number {
  if (headroom.headroomBlocks === 0) return 0;
  return status.sequences.some((sequence) => sequence.state !== 'waiting' && sequence.priority >= headroom.highPriority)
    ? headroom.headroomBlocks
    : 0;
}

/**
 * Steps that every sequence, running and queued, could still take: (free - all queued demand) / sequences x block size.
 * Infinity when idle, negative when overcommitted.
 */
export function dispatchFreenessSteps(status: InstanceStatus, headroom: PriorityHeadroom = noHeadroom): number {
  const sequences = status.running + status.waiting;
  if (sequences === 0) return Number.POSITIVE_INFINITY;
  return ((status.freeBlocks - status.waitingBlocks - headroomBlocksOf(status, headroom)) / sequences) * status.blockTokens;
}

/** Steps as seen by the head of the queue: (free - head of line) / (running + 1 if anything waits) x block size. */
export function defragFreenessSteps(status: InstanceStatus, headroom: PriorityHeadroom = noHeadroom): number {
  const sequences = status.running + (status.waiting > 0 ? 1 : 0);
  if (sequences === 0) return Number.POSITIVE_INFINITY;
  return ((status.freeBlocks - status.headBlocks - headroomBlocksOf(status, headroom)) / sequences) * status.blockTokens;
}

/** What pooled freeness is made of: sums over instances, in blocks. */
export interface PooledLoad {
  readonly freeBlocks: number;
  readonly waitingBlocks: number;
  readonly totalBlocks: number;
  readonly sequences: number;
  readonly blockTokens: number;
}

export function poolLoad(statuses: readonly InstanceStatus[]): PooledLoad {
  const sum = (pick: (status: InstanceStatus) => number) => statuses.reduce((total, status) => total + pick(status), 0);
  return {
    freeBlocks: sum((s) => s.freeBlocks),
    waitingBlocks: sum((s) => s.waitingBlocks),
    totalBlocks: sum((s) => s.totalBlocks),
    sequences: sum((s) => s.running + s.waiting),
    blockTokens: statuses[0]?.blockTokens ?? 1,
  };
}

/**
 * Freeness that every instance would have if the load were spread evenly, in steps. An idle pool has the steps that one
 * sequence could take with all memory, so that the number stays finite; an empty pool has 0.
 */
export function pooledFreenessSteps(load: PooledLoad): number {
  return ((load.freeBlocks - load.waitingBlocks) / Math.max(1, load.sequences)) * load.blockTokens;
}
