// Filters drop candidates that must not get the request, each with a reason.
import type { RequestInfo } from '../../proto/gen/messages.ts';
import { blocksWanted, type Candidate, contextTokens, freeBlocksAfterDemand, isContinuation, sequencesOn } from './candidate.ts';
import type { RoutingProfile } from './profile.ts';

export interface FilterQuestion {
  readonly request: RequestInfo;
  readonly profile: RoutingProfile;
  /** No healthy instance could take it: a suspect one is better than none (its reports may just be late). */
  readonly allowSuspects: boolean;
  /** Nothing is left beside the instances to avoid: one that has recovered is better than none. */
  readonly allowAvoided: boolean;
}

export interface Filter {
  readonly name: string;
  /** True, or why not. */
  keep(question: FilterQuestion, candidate: Candidate): true | string;
}

/** In this order: the first that drops a candidate is the one in the record. `saturation` is last: those it drops may be free again soon. */
export const filters: readonly Filter[] = [
  {
    name: 'health',
    keep: ({ allowSuspects }, { input }) => {
      if (input.health === 'dead') return 'dead';
      return input.health !== 'suspect' || allowSuspects ? true : 'suspect';
    },
  },
  { name: 'cordon', keep: (_, { input }) => (input.cordoned ? 'cordoned' : true) },
  { name: 'accepting', keep: (_, { input }) => (input.accepting ? true : 'not accepting') },
  { name: 'role', keep: (_, { input }) => (input.role === 'decode' ? 'decode only' : true) },
  {
    name: 'avoid',
    keep: ({ request, allowAvoided }, { instanceId }) =>
      request.avoidInstances.includes(instanceId) && !allowAvoided ? 'the request failed here' : true,
  },
  {
    name: 'context',
    keep: ({ request }, { input }) => {
      const tokens = contextTokens(request);
      if (input.maxContextTokens > 0 && tokens > input.maxContextTokens) return `${tokens} tokens, context ${input.maxContextTokens}`;
      const blocks = blocksWanted(request, input.blockTokens);
      return blocks > input.totalBlocks ? `${blocks} blocks, has ${input.totalBlocks}` : true;
    },
  },
  { name: 'saturation', keep: saturation },
];

/**
 * Sequences against batch and allowed waiting, and KV blocks against what the queue there already wants. A continuation
 * may use the engine's whole waiting room, and may wait for blocks there: its client is watching a stopped stream.
 */
function saturation({ request, profile }: FilterQuestion, { input }: Candidate): true | string {
  const sequences = sequencesOn(input);
  const continuation = isContinuation(request);
  const places = input.maxRunning + (continuation ? input.maxWaiting : Math.min(input.maxWaiting, profile.allowedWaiting));
  if (sequences >= places) return `${sequences} sequences, ${places} places`;
  if (continuation || sequences === 0) return true;
  const free = freeBlocksAfterDemand(input);
  const blocks = blocksWanted(request, input.blockTokens);
  return blocks > free ? `${blocks} blocks wanted, ${free} free` : true;
}
