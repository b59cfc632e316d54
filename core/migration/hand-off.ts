// A request that was opened where its prompt is computed, and is to go on elsewhere: whether it still should, and how. The source's
// agent plans and drives this by itself, for it happens to every long prompt (docs/decisions/0034-prefill-and-decode.md).
import type { HandOff, InstanceStatus, SequenceStatus } from '../../proto/gen/messages.ts';
import { decodeStepMs } from '../tracking/dead-reckoning.ts';
import { blocksToReserve, contextTokens, remainingTokens } from './cost.ts';
import { copiesAhead, type MigrationMode, modeOf } from './mode.ts';

export interface HandOffPlan {
  /** The same for the same request and epoch, so that every step may be repeated. */
  readonly migrationId: string;
  readonly requestId: string;
  readonly gatewayId: string;
  readonly sourceInstanceId: string;
  readonly targetInstanceId: string;
  readonly targetAddress: string;
  readonly fromEpoch: number;
  readonly toEpoch: number;
  readonly mode: MigrationMode;
  readonly reserveBlocks: number;
  /** Copied while the source decodes on, before the last stage; 0: all is copied at once. */
  readonly stagesAhead: number;
  /** The last stage begins when no more than these remain. */
  readonly lastStageBlocks: number;
  readonly connections: number;
  readonly pauseLeaseMs: number;
  readonly reservationTtlMs: number;
}

/** Why a request stays where it is: its end is near, it is over, or its engine cannot give it away. */
export type Staying = 'few_tokens' | 'sequence_finished' | 'not_movable';

export const handOffTerms = {
  /** With fewer tokens to go a request finishes sooner where it is. */
  minRemainingTokens: 16,
  bytesPerSecond: 1e9,
  stagesAhead: 7,
  lastStageBlocks: 16,
  connections: 2,
  pauseLeaseMs: 3_000,
  /** Of blocks whose source has died. */
  reservationTtlMs: 10_000,
  /**
   * Where the target's server fetches the KV. What the source's server has to compute once more, to give it away, waits there for
   * a place in a step like any prompt, and on a server that computes nothing but long prompts that takes seconds.
   */
  pull: { pauseLeaseMs: 10_000, reservationTtlMs: 20_000 },
} as const;

/** Tokens decoded while questions are under way, and a copy waits for its turns: rather too many than one block too few. */
const spareTokens = 64;

type Source = Pick<InstanceStatus, 'blockTokens' | 'kvBytesPerToken' | 'stepModel' | 'stepMs' | 'running' | 'sequences'>;

/**
 * `ways`: what the source's engine can do; the router has chosen a target that can do the same. `followFromBytes`: KV from which a
 * state is followed by its target; less is copied at once.
 */
export function planHandOff(
  from: { readonly requestId: string; readonly epoch: number; readonly instanceId: string; readonly gatewayId: string; readonly to: HandOff },
  status: Source,
  ways: Parameters<typeof modeOf>[0],
  limits: Parameters<typeof modeOf>[2],
): HandOffPlan | Staying {
  const sequence = status.sequences.find(({ requestId, epoch }) => requestId === from.requestId && epoch === from.epoch);
  if (!sequence) return 'sequence_finished';
  if (remainingTokens(sequence) < handOffTerms.minRemainingTokens) return 'few_tokens';
  const bytes = contextTokens(sequence) * status.kvBytesPerToken;
  const choice = modeOf(ways, bytes, limits);
  if (!choice || sequence.state !== 'decode') return 'not_movable';
  const { mode } = choice;
  const { stagesAhead, lastStageBlocks, connections } = handOffTerms;
  const { pauseLeaseMs, reservationTtlMs } = mode === 'pull' ? handOffTerms.pull : handOffTerms;
  return {
    migrationId: `hand-off-${from.requestId}-${from.epoch}`,
    ...{ requestId: from.requestId, gatewayId: from.gatewayId, fromEpoch: from.epoch, toEpoch: from.epoch + 1 },
    ...{ sourceInstanceId: from.instanceId, targetInstanceId: from.to.instanceId, targetAddress: from.to.address },
    mode,
    reserveBlocks: blocksToReserve(sequence, producedMeanwhile(sequence, status, bytes), status.blockTokens),
    stagesAhead: copiesAhead(mode) ? stagesAhead : 0,
    // A target that follows has to be close: the source says when it is.
    lastStageBlocks: mode === 'follow' ? 0 : lastStageBlocks,
    ...{ connections, pauseLeaseMs, reservationTtlMs },
  };
}

function producedMeanwhile(sequence: SequenceStatus, status: Source, bytes: number): number {
  const copyMs = (bytes / handOffTerms.bytesPerSecond) * 1000;
  const steps = Math.ceil(copyMs / Math.max(0.001, decodeStepMs(status)));
  return Math.min(remainingTokens(sequence), steps + spareTokens);
}
