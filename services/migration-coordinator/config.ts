// Settings of the migration coordinator.
import { z } from 'zod';

export const migrationCoordinatorSchema = z
  .strictObject({
    mode: z
      .enum(['off', 'advisory', 'active'])
      .default('active')
      .describe('rebalancing: off, advisory (plans and logs), active (moves). Drains and operators are served in every mode'),
    periodMs: z.number().min(10).max(60_000).default(200).describe('time between two rounds of rebalancing, ms'),
    lowSteps: z
      .number()
      .min(-1e6)
      .max(1e9)
      .default(160)
      .describe('an instance with less freeness gives requests away, steps (10 blocks of 16 tokens each)'),
    highSteps: z.number().min(-1e6).max(1e9).default(400).describe('an instance with more freeness takes requests, steps'),
    coolDownMs: z.number().min(0).max(3_600_000).default(5_000).describe('rebalancing leaves a moved request alone for this long, ms'),
    maxPerInstance: z.int().min(1).max(64).default(2).describe('migrations in and out of an instance that rebalancing may run at a time'),
    maxActive: z.int().min(1).max(1_000).default(16).describe('migrations that rebalancing may run at a time, whole fleet'),
    maxForcedPerInstance: z.int().min(1).max(256).default(8).describe('the same per instance, counted when a drain or an operator asks'),
    maxForcedActive: z.int().min(1).max(4_000).default(64).describe('the same for the whole fleet, counted when a drain or an operator asks'),
    minRemainingTokens: z.int().min(0).max(100_000).default(16).describe('a request with fewer tokens to go finishes where it is'),
    minBenefitRatio: z.number().min(0).max(1_000).default(3).describe('remaining decode time over migration time that rebalancing demands'),
    bytesPerSecond: z.number().min(1e3).max(1e13).default(1e9).describe('KV bandwidth between two instances, for the cost model'),
    overheadMs: z.number().min(0).max(60_000).default(100).describe('time of a migration besides copying, for the cost model, ms'),
    followFromBytes: z
      .number()
      .min(0)
      .max(1e15)
      .default(1e6)
      .describe('KV from which an engine that moves it as one state is followed by the target; less is copied while it stands still, bytes'),
    spareBlocks: z.int().min(0).max(100_000).default(8).describe('free blocks that a target keeps'),
    priorityHeadroomShare: z.number().min(0).max(0.9).default(0.1).describe('share of the blocks kept free where high priority runs'),
    highPriority: z.int().min(-1_000).max(1_000).default(1).describe('priority from which a request is high'),
    connections: z.int().min(1).max(32).default(2).describe('KV connections per migration'),
    shortMs: z
      .number()
      .min(0)
      .max(10_000)
      .default(1_000)
      .describe('a migration that is expected to take no longer goes without a record of its copy stages: a worker that takes over begins again, ms'),
    bulkBytes: z
      .number()
      .min(0)
      .max(1e15)
      .default(1e9)
      .describe('KV from which the copy is a workflow of its own (transferKv), which outlives many workers and lost connections, bytes'),
    maxStages: z.int().min(1).max(64).default(8).describe('copy stages before a migration is given up'),
    lastStageBlocks: z.int().min(1).max(10_000).default(16).describe('the source is paused when no more than these blocks are left to copy'),
    pauseLeaseMs: z.number().min(100).max(60_000).default(3_000).describe('a paused source resumes by itself after this, ms'),
    reservationTtlMs: z
      .number()
      .min(100)
      .max(600_000)
      .default(15_000)
      .describe('a reservation that nobody takes over frees its blocks after this, ms'),
    withinMs: z
      .number()
      .min(1_000)
      .max(3_600_000)
      .default(60_000)
      .describe('a migration that has not committed by then is aborted, ms; a large copy gets four times its expected time in addition'),
    maxDelayMs: z.number().min(10).max(60_000).default(750).describe('rebalancing holds back while Temporal takes longer than this to begin, ms'),
    delayHalfLifeMs: z.number().min(100).max(600_000).default(10_000).describe('how fast an observed delay is forgotten, ms'),
    checkAfterMs: z
      .number()
      .min(100)
      .max(600_000)
      .default(5_000)
      .describe('a migration whose end nobody reported is looked up after this, and again each time, ms'),
    maxViewAgeMs: z.number().min(100).max(60_000).default(2_500).describe('nothing is planned from an older fleet view, ms'),
    leaseMs: z.number().min(500).max(60_000).default(3_000).describe('lease of the coordinator, ms'),
    drainWithinMs: z.number().min(1_000).max(86_400_000).default(600_000).describe('how long a drain tries, unless the operator says otherwise, ms'),
    approvalWithinMs: z
      .number()
      .min(1_000)
      .max(604_800_000)
      .default(3_600_000)
      .describe('time to decide about draining a last instance, ms; then the answer is no'),
    approvalUseWithinMs: z.number().min(1_000).max(86_400_000).default(300_000).describe('an approved drain must begin within this, ms'),
    approvalQuorum: z.int().min(1).max(10).default(1).describe('votes needed to drain a last instance'),
  })
  .refine((c) => c.lowSteps < c.highSteps, { message: 'lowSteps must be less than highSteps', path: ['lowSteps'] })
  .refine((c) => c.pauseLeaseMs < c.reservationTtlMs, { message: 'pauseLeaseMs must be less than reservationTtlMs', path: ['pauseLeaseMs'] });
export type MigrationCoordinatorConfig = z.infer<typeof migrationCoordinatorSchema>;
