// Settings of the autoscaler.
import { z } from 'zod';
import { fleetSchema } from '../../lib/config/fleet.ts';

export const autoscalerSchema = z
  .strictObject({
    mode: z
      .enum(['off', 'advisory', 'active'])
      .default('advisory')
      .describe('of pools whose mode nobody has set: off, advisory (decides and records), active (scales). Manual commands are served in every mode'),
    policy: z.enum(['freeness-band']).default('freeness-band').describe('who proposes sizes'),
    tickMs: z.number().min(50).max(600_000).default(1_000).describe('time between two decisions, ms'),
    lowSteps: z.number().min(-1e6).max(1e9).default(160).describe('mean freeness below which a pool grows, steps (10 blocks of 16 tokens each)'),
    highSteps: z.number().min(-1e6).max(1e9).default(960).describe('mean freeness above which a pool shrinks, steps (60 blocks of 16 tokens each)'),
    removalSteps: z.number().min(-1e6).max(1e9).default(320).describe('freeness that must be left after a removal, steps'),
    upWindowMs: z.number().min(0).max(3_600_000).default(10_000).describe('how long freeness must be low before the pool grows, ms'),
    downWindowMs: z.number().min(0).max(86_400_000).default(60_000).describe('how long freeness must be high before the pool shrinks, ms'),
    horizonMs: z
      .number()
      .min(0)
      .max(3_600_000)
      .default(10_000)
      .describe('how far ahead demand is extrapolated: about the time an instance takes to start, ms; 0: not'),
    outCooldownMs: z.number().min(0).max(3_600_000).default(10_000).describe('time between two growths, ms'),
    inCooldownMs: z.number().min(0).max(86_400_000).default(60_000).describe('time from any change to a removal, ms'),
    maxStep: z.int().min(1).max(1_000).default(1).describe('instances that one decision adds or removes at most'),
    stormMigrations: z.int().min(1).max(100_000).default(20).describe('migrations within stormMs from which nothing is removed'),
    stormMs: z.number().min(1_000).max(600_000).default(10_000).describe('window for stormMigrations, ms'),
    maxViewAgeMs: z.number().min(100).max(60_000).default(2_500).describe('the size stays while the fleet view is older, ms'),
    maxQueueAgeMs: z
      .number()
      .min(500)
      .max(60_000)
      .default(3_000)
      .describe('nothing is removed while admission has not said for longer what waits there, ms'),
    executeWithinMs: z.number().min(1_000).max(86_400_000).default(900_000).describe('time for a change of size, after any approval, ms'),
    drainWithinMs: z.number().min(1_000).max(86_400_000).default(600_000).describe('time to empty one instance, ms'),
    approvalWithinMs: z
      .number()
      .min(1_000)
      .max(604_800_000)
      .default(3_600_000)
      .describe('time to decide about going below the floor, ms; then the answer is no'),
    lookUpMs: z.number().min(100).max(600_000).default(5_000).describe('a change whose end nobody reported is looked up this often, ms'),
    leaseMs: z.number().min(500).max(60_000).default(3_000).describe('lease of a pool’s scaler, ms'),
    fleet: fleetSchema,
  })
  .refine((c) => c.lowSteps < c.highSteps, { message: 'lowSteps must be less than highSteps', path: ['lowSteps'] })
  .refine((c) => c.removalSteps > c.lowSteps, {
    message: 'removalSteps must be more than lowSteps, or a removal would be undone at once',
    path: ['removalSteps'],
  });
export type AutoscalerConfig = z.infer<typeof autoscalerSchema>;
