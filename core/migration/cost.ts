// What moving a sequence costs and what it is worth: KV bytes over bandwidth against the time it will still decode.
import type { InstanceStatus, MigrationPlan, SequenceStatus } from '../../proto/gen/messages.ts';
import { blocksFor, decodeStepMs, prefillMs } from '../tracking/dead-reckoning.ts';
import type { PlanningLimits } from './planning.ts';

export interface MoveCost {
  readonly mode: MigrationPlan['mode'];
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

/**
 * Copy when both sides can move KV of the same shape and there is KV worth moving (the sequence decodes); otherwise the
 * target computes the context again. Undefined: neither is possible.
 */
function moveMode(sequence: SequenceStatus, source: InstanceStatus, target: InstanceStatus): MigrationPlan['mode'] | undefined {
  const sameShape = source.blockTokens === target.blockTokens && source.kvBytesPerToken === target.kvBytesPerToken && source.model === target.model;
  const exports = source.capabilities.includes('kv_export') && target.capabilities.includes('kv_export');
  if (sequence.state === 'decode' && sameShape && exports) return 'copy';
  return target.capabilities.includes('recompute') ? 'recompute' : undefined;
}

/** The cost of moving `sequence`; undefined when it cannot be moved between these two at all. */
export function moveCost(sequence: SequenceStatus, source: InstanceStatus, target: InstanceStatus, limits: PlanningLimits): MoveCost | undefined {
  const mode = moveMode(sequence, source, target);
  if (!mode) return undefined;
  const tokens = contextTokens(sequence);
  const expectedBytes = mode === 'copy' ? tokens * source.kvBytesPerToken : 0;
  const expectedMs = limits.overheadMs + (mode === 'copy' ? (expectedBytes / limits.bytesPerSecond) * 1000 : prefillMs(target, tokens));
  const stepMs = Math.max(0.001, decodeStepMs(source));
  const producedMeanwhile = mode === 'copy' ? Math.ceil(expectedMs / stepMs) : 0;
  const finalTokens = Math.max(tokens, sequence.promptTokens + sequence.maxOutputTokens);
  const reserveBlocks = Math.min(blocksFor(tokens + producedMeanwhile, target.blockTokens) + 1, blocksFor(finalTokens, target.blockTokens));
  return {
    mode,
    reserveBlocks: Math.max(reserveBlocks, blocksFor(tokens, target.blockTokens)),
    expectedBytes,
    expectedMs,
    remainingMs: remainingTokens(sequence) * stepMs,
  };
}
