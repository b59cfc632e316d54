// An instance as a decision sees it: its last report, corrected by the account, and what the indexes know of the request.
import type { CandidateInput, InstanceView, RequestInfo, SequenceStatus } from '../../proto/gen/messages.ts';
import { kvFit } from '../migration/mode.ts';
import type { LoadCorrection } from './account.ts';
import type { InstanceInput } from './fleet-table.ts';
import { prefixBlockBytes } from './prefix-hash.ts';

export interface Candidate {
  readonly instanceId: string;
  readonly address: string;
  readonly input: CandidateInput;
}

/** The instance's report and state, corrected. @throws when the view has no report */
export function inputOf({ status, health, cordoned }: InstanceView, correction: LoadCorrection): InstanceInput {
  const { accepting, role, running, waiting, maxRunning, maxWaiting } = status!;
  const { totalBlocks, freeBlocks, waitingBlocks, blockTokens, maxContextTokens, sequences } = status!;
  return {
    ...{ health, cordoned, accepting, role, running, waiting, maxRunning, maxWaiting },
    ...{ totalBlocks, freeBlocks, waitingBlocks, blockTokens, maxContextTokens },
    pendingTokens: pendingTokens(sequences),
    // Only requests of prefill instances are handed over.
    kvFit: role === 'mixed' ? '' : kvFit(status!),
    ...correction,
  };
}

/** Of prompts that wait or are being computed. What has been computed of the latter is not known: it counts as all to do. */
function pendingTokens(sequences: readonly SequenceStatus[]): number {
  let tokens = 0;
  for (const { state, promptTokens, outputTokens } of sequences) {
    if (state === 'waiting' || state === 'prefill') tokens += promptTokens + outputTokens;
  }
  return tokens;
}

/** Sequences there now, as far as we know: reported, less ended, plus booked. */
export function sequencesOn(running: number, waiting: number, ended: number, booked: number): number {
  return Math.max(0, running + waiting - ended) + booked;
}

/** Blocks left when everything that waits or is booked has got its own. May be negative. */
export function freeBlocksAfterDemand(free: number, waiting: number, booked: number, ended: number): number {
  return free - waiting - booked + ended;
}

/** Tokens to compute before the next one can be produced: prompt and what was generated elsewhere, and room for the next. */
export function contextTokens(request: RequestInfo): number {
  return request.promptTokens + request.generatedTokens + 1;
}

/** Of `tokens`, less what is probably cached in `prefixBlocks` blocks of the prefix index. */
export function tokensToCompute(tokens: number, prefixBlocks: number): number {
  return Math.max(1, tokens - (prefixBlocks * prefixBlockBytes) / 4);
}

/** KV blocks that `tokens` fill. */
export function blocksOf(tokens: number, blockTokens: number): number {
  return Math.ceil(tokens / Math.max(1, blockTokens));
}

/** KV blocks that the request wants at once. */
export function blocksWanted(request: RequestInfo, blockTokens: number): number {
  return blocksOf(contextTokens(request), blockTokens);
}

/** True for a request that was running and lost its instance: it passes limits and queue, and needs a place soonest. */
export function isContinuation(request: RequestInfo): boolean {
  return request.generatedTokens > 0 || request.epoch > 0;
}
