// Scorers give each kept candidate 0 to 1, 1 being best. Only + - * / and comparisons, so that a replay on another
// machine gives the same bits.
import type { CandidateInput, RequestInfo } from '../../proto/gen/messages.ts';
import { blocksWanted, type Candidate, freeBlocksAfterDemand, sequencesOn } from './candidate.ts';
import { prefixBlockBytes } from './prefix-hash.ts';
import type { RoutingProfile, ScorerName } from './profile.ts';

export interface ScoreQuestion {
  readonly request: RequestInfo;
  readonly profile: RoutingProfile;
  /** Fewest and most sequences on any kept candidate. */
  readonly leastSequences: number;
  readonly mostSequences: number;
}

export type Scorer = (question: ScoreQuestion, candidate: Candidate) => number;

export const scorers: Readonly<Record<ScorerName, Scorer>> = {
  /** 1 on the least loaded, 0 on the most loaded; small differences in a balanced pool stay small. */
  queue: ({ profile, leastSequences, mostSequences }, { input }) => {
    const range = Math.max(mostSequences - leastSequences, profile.loadSpan, 1);
    return 1 - (sequencesOn(input) - leastSequences) / range;
  },

  /** Freeness in steps with this request there and all queued demand counted: s / (s + half). */
  kvHeadroom: ({ request, profile }, { input }) => {
    const steps = freenessSteps(input, blocksWanted(request, input.blockTokens));
    return steps <= 0 ? 0 : steps / (steps + profile.headroomHalfSteps);
  },

  /** Share of the prompt that is probably cached, less for short hits, and faded by load. */
  prefix: (question, { input }) => {
    const { request, profile } = question;
    if (input.prefixBlocks === 0) return 0;
    const share = input.prefixBlocks / Math.max(1, request.prefixHashes.length);
    const tokens = (input.prefixBlocks * prefixBlockBytes) / 4;
    return share * (tokens / (tokens + profile.affinityHalfTokens)) * fade(question, input);
  },

  /** 1 where the session was last, faded by load. */
  session: (question, { input }) => (input.session ? fade(question, input) : 0),
};

/** 1 on the least loaded instance, 0 from `loadSpan` sequences above it: affinity never builds a hot spot taller than that. */
function fade({ profile, leastSequences }: ScoreQuestion, input: CandidateInput): number {
  return Math.max(0, 1 - (sequencesOn(input) - leastSequences) / Math.max(1, profile.loadSpan));
}

/** Decode steps that every sequence there could still take if one more with `extraBlocks` came. Negative when overcommitted. */
function freenessSteps(input: CandidateInput, extraBlocks: number): number {
  return ((freeBlocksAfterDemand(input) - extraBlocks) * input.blockTokens) / (sequencesOn(input) + 1);
}
