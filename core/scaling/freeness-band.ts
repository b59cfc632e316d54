// Llumnix's rule: keep the mean freeness of a pool, F = (free - all queued demand) / sequences x block size, within a band.
// Demand that waits at admission and pending capacity count, the load after a removal is simulated first, and one instance
// changes at a time, after the band was left for a while. Freeness knows memory only, so slots are looked at as well.
import { pooledFreenessSteps } from '../tracking/freeness.ts';
import { extrapolate, observe, type Trend } from './forecast.ts';
import type { Forecast, Proposal, ScalingPolicy, ScalingReason } from './policy.ts';
import { demandBlocks, loadWithPending, type PoolView, retireOrder, serving, slotsWithPending, supply } from './pool-view.ts';

export interface FreenessBandSettings {
  /** Below for `upWindowMs`: one more. Above `highSteps` for `downWindowMs`: one fewer. Steps. */
  readonly lowSteps: number;
  readonly highSteps: number;
  readonly upWindowMs: number;
  readonly downWindowMs: number;
  /** Freeness that must be left after a removal, steps. */
  readonly removalSteps: number;
  /** How far ahead demand is extrapolated: about the time an instance takes to start. 0: not at all. */
  readonly horizonMs: number;
}

export interface FreenessBandMemory {
  readonly lowSinceMs: number | undefined;
  readonly highSinceMs: number | undefined;
  readonly demand: Trend | undefined;
}

const smoothing = { levelWeight: 0.4, slopeWeight: 0.2 };

export function freenessBand(settings: FreenessBandSettings): ScalingPolicy<FreenessBandMemory> {
  return {
    name: 'freeness-band',
    start: () => ({ lowSinceMs: undefined, highSinceMs: undefined, demand: undefined }),

    predict(view, memory): readonly [FreenessBandMemory, Forecast] {
      const now = demandBlocks(loadWithPending(view));
      const demand = observe(memory.demand, now, view.nowMs, smoothing);
      const { horizonMs } = settings;
      return [
        { ...memory, demand },
        { demandBlocks: horizonMs > 0 ? Math.max(0, extrapolate(demand, horizonMs)) : now, horizonMs },
      ];
    },

    propose(view, forecast, memory): readonly [FreenessBandMemory, Proposal] {
      const current = supply(view);
      const load = loadWithPending(view);
      const nowSteps = pooledFreenessSteps(load);
      // Growth that is coming counts, relief that is coming does not.
      const extraBlocks = Math.max(0, forecast.demandBlocks - demandBlocks(load));
      const soonSteps = pooledFreenessSteps({ ...load, freeBlocks: load.freeBlocks - extraBlocks });
      const slots = slotsWithPending(view);
      const isFull = load.sequences > slots;
      const isEmpty = current === 0 && load.sequences === 0;
      const isLow = !isEmpty && (isFull || soonSteps < settings.lowSteps);
      const isHigh = !isLow && soonSteps > settings.highSteps;
      const next: FreenessBandMemory = {
        ...memory,
        lowSinceMs: isLow ? (memory.lowSinceMs ?? view.nowMs) : undefined,
        highSinceMs: isHigh ? (memory.highSinceMs ?? view.nowMs) : undefined,
      };
      const stay = (...reasons: ScalingReason[]): readonly [FreenessBandMemory, Proposal] => [next, { target: current, reasons }];

      const waiting = view.queued?.requests ?? 0;
      const queued = waiting > 0 ? `, with ${waiting} waiting at admission` : '';
      const band = `the band is ${settings.lowSteps} to ${settings.highSteps}`;
      const seen = `Mean freeness is ${Math.round(nowSteps)} steps${soonSteps < nowSteps ? `, ${Math.round(soonSteps)} in ${Math.round(forecast.horizonMs / 1000)} s` : ''}${queued}; ${band}.`;
      if (isEmpty) return stay({ code: 'no_demand', text: 'The pool is empty and nobody waits for it.' });
      if (isLow) {
        const full = { code: 'slots_full', text: `${load.sequences} sequences, queued ones counted, and ${slots} slots. ${seen}` } as const;
        const reason: ScalingReason = isFull ? full : { code: 'freeness_low', text: seen };
        const forMs = view.nowMs - (next.lowSinceMs ?? view.nowMs);
        if (forMs < settings.upWindowMs) return stay(reason, notYet(forMs, settings.upWindowMs));
        return [next, { target: current + 1, reasons: [reason] }];
      }
      if (isHigh) {
        const reason: ScalingReason = { code: 'freeness_high', text: seen };
        const forMs = view.nowMs - (next.highSinceMs ?? view.nowMs);
        if (forMs < settings.downWindowMs) return stay(reason, notYet(forMs, settings.downWindowMs));
        const overload = overloadAfterRemoval(view, extraBlocks, settings);
        return overload ? stay(reason, overload) : [next, { target: current - 1, reasons: [reason] }];
      }
      return stay({ code: 'in_band', text: seen });
    },
  };
}

function notYet(forMs: number, windowMs: number): ScalingReason {
  return { code: 'window_not_over', text: `Outside for ${Math.round(forMs / 1000)} of ${Math.round(windowMs / 1000)} s.` };
}

/** The load after the removal, simulated: what the retiring instance holds moves to the others. */
function overloadAfterRemoval(view: PoolView, extraBlocks: number, settings: FreenessBandSettings): ScalingReason | undefined {
  const retiring = retireOrder(view)[0];
  if (!retiring || !serving(view).includes(retiring)) return undefined;
  const { totalBlocks, instanceId } = retiring.status;
  const load = loadWithPending(view);
  const steps = pooledFreenessSteps({
    ...load,
    freeBlocks: load.freeBlocks - totalBlocks - extraBlocks,
    totalBlocks: load.totalBlocks - totalBlocks,
  });
  const slots = slotsWithPending(view) - retiring.status.maxRunning;
  if (load.sequences > slots)
    return { code: 'removal_would_overload', text: `Without ${instanceId} there are ${slots} slots for ${load.sequences} sequences.` };
  if (steps < settings.removalSteps)
    return {
      code: 'removal_would_overload',
      text: `Without ${instanceId} freeness would be ${Math.round(steps)} steps; ${settings.removalSteps} must be left.`,
    };
  return undefined;
}
