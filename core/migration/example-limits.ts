// Limits for tests: the defaults of services/migration-coordinator in short form.

import { exampleNowMs } from '../tracking/example-fleet.ts';
import type { KnownInstance } from '../tracking/fleet-view.ts';
import type { PlanningLimits, PlanningView } from './planning.ts';

export const exampleLimits: PlanningLimits = {
  lowSteps: 160,
  highSteps: 400,
  coolDownMs: 5_000,
  maxPerInstance: 2,
  maxActive: 16,
  maxForcedPerInstance: 4,
  maxForcedActive: 64,
  minRemainingTokens: 16,
  minBenefitRatio: 3,
  bytesPerSecond: 1e9,
  overheadMs: 60,
  followFromBytes: 1_000_000,
  spareBlocks: 8,
  priorityHeadroomShare: 0.1,
  highPriority: 1,
};

export function examplePlanning(instances: readonly KnownInstance[], fields: Partial<PlanningView> = {}): PlanningView {
  return { nowMs: exampleNowMs, instances, active: [], settling: [], movedAtMs: new Map(), ...fields };
}
