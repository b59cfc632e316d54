// One round of rebalancing: which running requests move between instances of a pool, and why (papers: Llumnix).
//
// Three triggers, in this order: the head of a queue blocked by fragmentation, high priority without headroom, plain
// imbalance. Every move must shrink the gap in freeness and keep its order, so no two rounds can send a request back
// and forth.
import { decodeStepMs } from '../tracking/dead-reckoning.ts';
import { dispatchFreenessSteps } from '../tracking/freeness.ts';
import { type Candidate, candidates, pickRequest } from './choose-request.ts';
import { contextTokens, remainingTokens } from './cost.ts';
import type { MigrationMode } from './mode.ts';
import { type Move, type MoveReason, megabytes, type PlanningLimits, type PlanningView, stepsText } from './planning.ts';
import {
  afterMove,
  balanceSteps,
  headSteps,
  isActive,
  type PlannedInstance,
  type PoolPicture,
  picturesOf,
  withoutSequence,
  withSequence,
} from './pool-picture.ts';

type Measure = (planned: PlannedInstance) => number;

/** Moves of this round, at most one out of each instance. Same view, same moves. */
export function planRebalance(view: PlanningView, limits: PlanningLimits): Move[] {
  const moves: Move[] = [];
  for (const first of picturesOf(view)) {
    let picture: PoolPicture = { ...first, active: view.active.length + moves.length };
    const moved = new Set<string>();
    for (const source of sourcesOf(picture, limits)) {
      if (picture.active >= limits.maxActive) return moves;
      if (moved.has(source.id)) continue;
      const next = relieve(view, picture, source.id, source.reason, limits);
      if (!next) continue;
      moved.add(source.id);
      moves.push(next.move);
      picture = next.picture;
    }
  }
  return moves;
}

interface Source {
  readonly id: string;
  readonly reason: Extract<MoveReason, 'fragmentation' | 'priority' | 'imbalance'>;
}

/** Instances that should give something away, the worst first within each trigger. */
function sourcesOf(picture: PoolPicture, limits: PlanningLimits): Source[] {
  const active = picture.instances.filter((planned) => isActive(planned.instance));
  const worstFirst = (measure: Measure) => [...active].sort((a, b) => measure(a) - measure(b) || (a.id < b.id ? -1 : 1));
  const blocked = worstFirst((planned) => headSteps(planned.status, limits)).filter(isHeadBlocked);
  const low = worstFirst((planned) => balanceSteps(planned.status, limits)).filter(
    (planned) => balanceSteps(planned.status, limits) < limits.lowSteps,
  );
  return [
    ...blocked.map((planned) => ({ id: planned.id, reason: 'fragmentation' as const })),
    ...low.map((planned) => ({
      id: planned.id,
      // Low only because of the room that high priority wants.
      reason: dispatchFreenessSteps(planned.status) >= limits.lowSteps ? ('priority' as const) : ('imbalance' as const),
    })),
  ];
}

/** The first queued sequence waits for memory, not for a slot. */
function isHeadBlocked({ status }: PlannedInstance): boolean {
  return status.waiting > 0 && status.headBlocks > status.freeBlocks && status.running < status.maxRunning;
}

/** Pairs the source with the freest targets in turn until one takes a request. */
function relieve(view: PlanningView, picture: PoolPicture, sourceId: string, reason: Source['reason'], limits: PlanningLimits) {
  const source = picture.instances.find((planned) => planned.id === sourceId);
  if (!source || source.moves >= limits.maxPerInstance) return undefined;
  const steps: (planned: PlannedInstance) => number =
    reason === 'fragmentation' ? (planned) => headSteps(planned.status, limits) : (planned) => balanceSteps(planned.status, limits);
  const targets = picture.instances
    // Where prompts are computed nothing is sent to be decoded.
    .filter(
      (planned) => planned.id !== sourceId && isActive(planned.instance) && planned.status.role !== 'prefill' && steps(planned) > limits.highSteps,
    )
    .sort((a, b) => steps(b) - steps(a) || (a.id < b.id ? -1 : 1));
  for (const target of targets) {
    const list = candidates(view, picture, source, target, limits).filter((c) => reason !== 'priority' || c.sequence.priority < limits.highPriority);
    const after = (candidate: Candidate) => ({
      source: steps({ ...source, status: withoutSequence(source.status, candidate.sequence) }),
      target: steps({ ...target, status: withSequence(target.status, candidate.sequence, candidate.cost.reserveBlocks) }),
    });
    const gapBefore = steps(target) - steps(source);
    const picked = pickRequest(
      list,
      (candidate) => {
        const then = after(candidate);
        return then.target >= limits.lowSteps && then.source <= then.target && then.target - then.source < gapBefore;
      },
      (candidate) =>
        reason === 'fragmentation'
          ? source.status.freeBlocks + candidate.sequence.blocks >= source.status.headBlocks
          : after(candidate).source >= limits.lowSteps,
    );
    if (!picked) continue;
    const then = after(picked);
    return {
      move: toMove(
        source,
        target,
        picked,
        reason,
        explain(source, target, picked, reason, { before: [steps(source), steps(target)], after: [then.source, then.target] }),
      ),
      picture: afterMove(picture, picked.sequence, source.id, target.id, picked.cost),
    };
  }
  return undefined;
}

export function toMove(source: PlannedInstance, target: PlannedInstance, candidate: Candidate, reason: MoveReason, reasons: readonly string[]): Move {
  const { mode, reserveBlocks, expectedBytes, expectedMs } = candidate.cost;
  return {
    sequence: candidate.sequence,
    pool: source.status.pool,
    sourceInstanceId: source.id,
    targetInstanceId: target.id,
    targetAddress: target.status.address,
    reason,
    reasons,
    mode,
    reserveBlocks,
    expectedBytes,
    expectedMs,
    mayRecompute: target.status.capabilities.includes('recompute'),
  };
}

function explain(
  source: PlannedInstance,
  target: PlannedInstance,
  candidate: Candidate,
  reason: Source['reason'],
  steps: { readonly before: readonly [number, number]; readonly after: readonly [number, number] },
): string[] {
  const { status } = source;
  const why = {
    fragmentation: `The first of ${status.waiting} queued on ${source.id} needs ${status.headBlocks} blocks and ${status.freeBlocks} are free; ${target.id} has ${target.status.freeBlocks}.`,
    priority: `${source.id} runs high priority without its headroom; requests of lower priority leave.`,
    imbalance: `${source.id} can decode ${stepsText(steps.before[0])} more, ${target.id} ${stepsText(steps.before[1])}.`,
  }[reason];
  return [
    why,
    `Afterwards ${stepsText(steps.after[0])} and ${stepsText(steps.after[1])}: the gap shrinks and keeps its order.`,
    costSentence(source, candidate),
  ];
}

/** What it costs and what it is worth, for people. */
export function costSentence(source: PlannedInstance, { sequence, cost }: Candidate): string {
  const tokens = contextTokens(sequence);
  const what = `${modeWords[cost.mode](tokens, megabytes(cost.expectedBytes))}${cost.because === '' ? '' : `, for ${cost.because},`}`;
  const stepMs = decodeStepMs(source.status);
  return `${what} in about ${Math.round(cost.expectedMs)} ms; up to ${remainingTokens(sequence)} tokens are left, ${Math.round(remainingTokens(sequence) * stepMs)} ms of decoding.`;
}

const modeWords: Readonly<Record<MigrationMode, (tokens: number, size: string) => string>> = {
  copy: (tokens, size) => `Copies ${tokens} tokens (${size})`,
  follow: (tokens, size) => `Copies ${tokens} tokens (${size}) while the target computes along`,
  stop_and_copy: (tokens, size) => `Stops and copies ${tokens} tokens (${size})`,
  pull: (tokens, size) => `The target's engine fetches ${tokens} tokens (${size})`,
  recompute: (tokens) => `Computes ${tokens} tokens again`,
};
