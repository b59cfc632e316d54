// An instance as a decision sees it: its last report, corrected by the account, and what the indexes know of the request.
import type { CandidateInput, FleetView, InstanceView, RequestInfo } from '../../proto/gen/messages.ts';
import type { LoadCorrection } from './account.ts';

export interface Candidate {
  readonly instanceId: string;
  readonly address: string;
  readonly input: CandidateInput;
}

/** What decisions read besides the view. */
export interface RoutingKnowledge {
  correctionOf(instanceId: string): LoadCorrection;
  prefixBlocks(hashes: readonly number[]): ReadonlyMap<string, number>;
  sessionInstance(sessionId: string): string | undefined;
}

/** The instances of the request's pool, sorted by id. Those of other pools serve another model and are no candidates. */
export function candidatesOf(view: FleetView, knowledge: RoutingKnowledge, request: RequestInfo): Candidate[] {
  const prefixes = knowledge.prefixBlocks(request.prefixHashes);
  const session = knowledge.sessionInstance(request.sessionId);
  return view.instances
    .flatMap((instance): Candidate[] => {
      const { status } = instance;
      if (!status || status.pool !== request.pool) return [];
      const id = status.instanceId;
      const input = inputOf(instance, knowledge.correctionOf(id), prefixes.get(id) ?? 0, session === id);
      return [{ instanceId: id, address: status.address, input }];
    })
    .sort((a, b) => (a.instanceId < b.instanceId ? -1 : a.instanceId > b.instanceId ? 1 : 0));
}

function inputOf(instance: InstanceView, correction: LoadCorrection, prefixBlocks: number, session: boolean): CandidateInput {
  const status = instance.status!;
  return {
    health: instance.health,
    cordoned: instance.cordoned,
    accepting: status.accepting,
    role: status.role,
    running: status.running,
    waiting: status.waiting,
    maxRunning: status.maxRunning,
    maxWaiting: status.maxWaiting,
    totalBlocks: status.totalBlocks,
    freeBlocks: status.freeBlocks,
    waitingBlocks: status.waitingBlocks,
    blockTokens: status.blockTokens,
    maxContextTokens: status.maxContextTokens,
    ...correction,
    prefixBlocks,
    session,
  };
}

/** Sequences there now, as far as we know: reported, less ended, plus booked. */
export function sequencesOn(input: Pick<CandidateInput, 'running' | 'waiting' | 'endedRequests' | 'bookedRequests'>): number {
  return Math.max(0, input.running + input.waiting - input.endedRequests) + input.bookedRequests;
}

/** Blocks left when everything that waits or is booked has got its own. May be negative. */
export function freeBlocksAfterDemand(input: Pick<CandidateInput, 'freeBlocks' | 'waitingBlocks' | 'bookedBlocks' | 'endedBlocks'>): number {
  return input.freeBlocks - input.waitingBlocks - input.bookedBlocks + input.endedBlocks;
}

/** Tokens to compute before the next one can be produced: prompt and what was generated elsewhere, and room for the next. */
export function contextTokens(request: RequestInfo): number {
  return request.promptTokens + request.generatedTokens + 1;
}

/** KV blocks that the request wants at once. */
export function blocksWanted(request: RequestInfo, blockTokens: number): number {
  return Math.ceil(contextTokens(request) / Math.max(1, blockTokens));
}

/** True for a request that was running and lost its instance: it passes limits and queue, and needs a place soonest. */
export function isContinuation(request: RequestInfo): boolean {
  return request.generatedTokens > 0 || request.epoch > 0;
}
