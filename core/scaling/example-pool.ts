// Example pools for tests.
import { exampleInstance, exampleNowMs, exampleSequence } from '../tracking/example-fleet.ts';
import type { KnownInstance } from '../tracking/fleet-view.ts';
import type { FreenessBandSettings } from './freeness-band.ts';
import type { GuardLimits } from './guard.ts';
import type { PoolView } from './pool-view.ts';

export const exampleGuard: GuardLimits = { maxViewAgeMs: 2_500, outCooldownMs: 10_000, inCooldownMs: 60_000, maxStep: 1, stormMigrations: 20 };
export const exampleBand: FreenessBandSettings = {
  lowSteps: 160,
  highSteps: 960,
  upWindowMs: 10_000,
  downWindowMs: 60_000,
  removalSteps: 320,
  horizonMs: 0,
};

/** `chat-<n>` with `requests` sequences of `blocks` blocks each, of 1000. */
export function exampleServer(n: number, requests: number, blocks = 40, view: Parameters<typeof exampleInstance>[1] = {}): KnownInstance {
  const sequences = Array.from({ length: requests }, (_, i) => exampleSequence({ requestId: `r${n}-${i}`, blocks }));
  return exampleInstance({ instanceId: `chat-${n}`, sequences }, view);
}

export function examplePool(instances: readonly KnownInstance[], fields: Partial<PoolView> = {}): PoolView {
  return {
    pool: 'chat',
    nowMs: exampleNowMs,
    bounds: { min: 1, max: 6, floor: 2 },
    instances,
    queued: { requests: 0, blocks: 0 },
    viewAgeMs: 100,
    pendingInstanceIds: [],
    planRunning: false,
    grewAtMs: 0,
    shrankAtMs: 0,
    recentMigrations: 0,
    ...fields,
  };
}
