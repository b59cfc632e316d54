// Pickers choose among scored candidates. Ties are broken by the decision's seed over candidates sorted by id.
import type { RoutingProfile } from './profile.ts';
import { seededRandom } from './seeded-random.ts';

export interface Scored {
  readonly instanceId: string;
  readonly total: number;
}

export interface Pick {
  readonly instanceId: string;
  readonly reason: 'best_score' | 'tie_break' | 'weighted';
}

/** Totals closer than this are equal: rounding must not decide. */
const tieWidth = 1e-9;

/** `scored` is not empty; its order does not matter. */
export function pick(scored: readonly Scored[], profile: RoutingProfile, seed: number): Pick {
  const random = seededRandom(seed);
  const ranked = [...scored].sort((a, b) => b.total - a.total || (a.instanceId < b.instanceId ? -1 : 1));
  return profile.picker === 'weighted' ? pickWeighted(ranked.slice(0, profile.topK), random) : pickBest(ranked, random);
}

function pickBest(ranked: readonly Scored[], random: () => number): Pick {
  const best = ranked[0]!;
  const tied = ranked.filter((candidate) => best.total - candidate.total <= tieWidth).sort((a, b) => (a.instanceId < b.instanceId ? -1 : 1));
  if (tied.length === 1) return { instanceId: best.instanceId, reason: 'best_score' };
  return { instanceId: tied[Math.floor(random() * tied.length)]!.instanceId, reason: 'tie_break' };
}

function pickWeighted(ranked: readonly Scored[], random: () => number): Pick {
  const sum = ranked.reduce((total, candidate) => total + candidate.total, 0);
  let left = random() * sum;
  for (const candidate of ranked) {
    left -= candidate.total;
    if (left < 0) return { instanceId: candidate.instanceId, reason: 'weighted' };
  }
  return { instanceId: ranked[0]!.instanceId, reason: 'weighted' };
}
