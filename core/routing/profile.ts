// A profile: a named, weighted list of scorers with a picker and the settings of filters and scorers.

export const scorerNames = ['queue', 'prefill', 'kvHeadroom', 'prefix', 'session'] as const;
export type ScorerName = (typeof scorerNames)[number];

export interface RoutingProfile {
  readonly name: string;
  /** A weight of 0 switches a scorer off. */
  readonly weights: Readonly<Record<ScorerName, number>>;
  /** `best` takes the highest total, `weighted` draws among the best `topK` in proportion to their totals. */
  readonly picker: 'best' | 'weighted';
  readonly topK: number;
  /** Sequences that may wait at an instance beyond its batch. Others wait in the pool's queue, where they can be reordered. */
  readonly allowedWaiting: number;
  /** Sequences more than the least loaded instance at which affinity counts nothing and the queue scorer gives 0. */
  readonly loadSpan: number;
  /** Prompt tokens waiting to be computed at which the prefill scorer gives one half. */
  readonly prefillHalfTokens: number;
  /** Freeness in steps at which the headroom scorer gives one half. */
  readonly headroomHalfSteps: number;
  /** Tokens of a prefix hit that are worth half of a perfect one: a short hit saves too little to unbalance for. */
  readonly affinityHalfTokens: number;
  /** In a pool with prefill instances: prompt tokens to compute from which one of them does it. */
  readonly disaggregateFromTokens: number;
}

export const defaultProfile: RoutingProfile = {
  name: 'balanced',
  weights: { queue: 2, prefill: 8, kvHeadroom: 2, prefix: 3, session: 1 },
  picker: 'best',
  topK: 3,
  allowedWaiting: 4,
  loadSpan: 4,
  prefillHalfTokens: 2_048,
  headroomHalfSteps: 512,
  affinityHalfTokens: 128,
  disaggregateFromTokens: 1_024,
};

/** Always the same text for the same profile. Made once per profile object: every record carries it. */
export function profileJson(profile: RoutingProfile): string {
  const known = texts.get(profile);
  if (known !== undefined) return known;
  const text = textOf(profile);
  texts.set(profile, text);
  return text;
}

const texts = new WeakMap<RoutingProfile, string>();

function textOf(profile: RoutingProfile): string {
  return JSON.stringify({
    name: profile.name,
    weights: Object.fromEntries(scorerNames.map((name) => [name, profile.weights[name]])),
    picker: profile.picker,
    topK: profile.topK,
    allowedWaiting: profile.allowedWaiting,
    loadSpan: profile.loadSpan,
    prefillHalfTokens: profile.prefillHalfTokens,
    headroomHalfSteps: profile.headroomHalfSteps,
    affinityHalfTokens: profile.affinityHalfTokens,
    disaggregateFromTokens: profile.disaggregateFromTokens,
  });
}
