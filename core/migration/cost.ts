// What moving a sequence costs and what it is worth: KV bytes over bandwidth against the time it will still decode.
import type { InstanceStatus, SequenceStatus } from '../../proto/gen/messages.ts';
import { blocksFor, decodeStepMs, prefillMs } from '../tracking/dead-reckoning.ts';
import { carriesKv, chooseMode, copiesAhead, type ModeChoice } from './mode.ts';
import type { PlanningLimits } from './planning.ts';

export interface MoveCost extends ModeChoice {
  /** To reserve on the target: what there is, and what will have been decoded by then. */
  readonly reserveBlocks: number;
  readonly expectedBytes: number;
  /** From the plan to the commit. */
  readonly expectedMs: number;
  /** That the sequence would still decode where it is, if it used its whole output limit. */
  readonly remainingMs: number;
}

export function contextTokens(sequence: SequenceStatus): number {
  return sequence.promptTokens + sequence.outputTokens;
}

export function remainingTokens(sequence: SequenceStatus): number {
  return Math.max(0, sequence.maxOutputTokens - sequence.outputTokens);
}

/** What there is, and what will have been decoded by the end of the copy; no more than the sequence can ever fill. */
export function blocksToReserve(sequence: SequenceStatus, producedMeanwhile: number, blockTokens: number): number {
  const tokens = contextTokens(sequence);
  const finalTokens = Math.max(tokens, sequence.promptTokens + sequence.maxOutputTokens);
  return Math.min(blocksFor(tokens + producedMeanwhile, blockTokens) + 1, blocksFor(finalTokens, blockTokens));
}

/** The cost of moving `sequence`; undefined when it cannot be moved between these two at all. */
export function moveCost(sequence: SequenceStatus, source: InstanceStatus, target: InstanceStatus, limits: PlanningLimits): MoveCost | undefined {
  const choice = chooseMode(sequence, source, target, limits);
  if (!choice) return undefined;
  const { mode } = choice;
  const tokens = contextTokens(sequence);
  const expectedBytes = carriesKv(mode) ? tokens * source.kvBytesPerToken : 0;
  const expectedMs = limits.overheadMs + (carriesKv(mode) ? (expectedBytes / limits.bytesPerSecond) * 1000 : prefillMs(target, tokens));
  const stepMs = Math.max(0.001, decodeStepMs(source));
  const producedMeanwhile = copiesAhead(mode) ? Math.ceil(expectedMs / stepMs) : 0;
  return {
    ...choice,
    reserveBlocks: blocksToReserve(sequence, producedMeanwhile, target.blockTokens),
    expectedBytes,
    expectedMs,
    remainingMs: remainingTokens(sequence) * stepMs,
  };
}
