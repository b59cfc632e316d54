// Settings of the router. `profile`, `maxBatch` and `staleViewMs` may change while it runs.
import { z } from 'zod';
import { defaultProfile } from '../../core/routing/profile.ts';

const weight = (value: number) => z.number().min(0).max(100).default(value);

const weightsSchema = z
  .strictObject({
    queue: weight(defaultProfile.weights.queue).describe('fewer sequences on the instance'),
    prefill: weight(defaultProfile.weights.prefill).describe('fewer prompt tokens waiting to be computed there'),
    kvHeadroom: weight(defaultProfile.weights.kvHeadroom).describe('more decode steps before KV memory is full, all queued demand counted'),
    prefix: weight(defaultProfile.weights.prefix).describe('more of the prompt probably cached; fades with load'),
    session: weight(defaultProfile.weights.session).describe('where the session was last; fades with load'),
  })
  .refine((weights) => Object.values(weights).some((value) => value > 0), { message: 'at least one weight must be above 0' });

export const routerSchema = z.strictObject({
  profile: z
    .strictObject({
      name: z.string().min(1).max(64).default(defaultProfile.name).describe('shown in decision records'),
      weights: weightsSchema.prefault({}),
      picker: z.enum(['best', 'weighted']).default(defaultProfile.picker).describe('highest total, or drawn among the best topK'),
      topK: z.int().min(1).max(64).default(defaultProfile.topK).describe('instances that the weighted picker draws among'),
      allowedWaiting: z
        .int()
        .min(0)
        .max(10_000)
        .default(defaultProfile.allowedWaiting)
        .describe('sequences that may wait at an instance; keep equal to the same setting of admission'),
      loadSpan: z.int().min(1).max(10_000).default(defaultProfile.loadSpan).describe('sequences above the least loaded at which affinity ends'),
      prefillHalfTokens: z
        .number()
        .min(1)
        .max(1_000_000)
        .default(defaultProfile.prefillHalfTokens)
        .describe('prompt tokens waiting at an instance that score one half'),
      headroomHalfSteps: z
        .number()
        .min(1)
        .max(1_000_000)
        .default(defaultProfile.headroomHalfSteps)
        .describe('decode steps of KV room that score one half'),
      affinityHalfTokens: z
        .number()
        .min(0)
        .max(1_000_000)
        .default(defaultProfile.affinityHalfTokens)
        .describe('length of a prefix hit, in tokens, that counts one half'),
      disaggregateFromTokens: z
        .int()
        .min(1)
        .max(10_000_000)
        .default(defaultProfile.disaggregateFromTokens)
        .describe('prompt tokens to compute from which a prefill instance does it, in pools that have any'),
    })
    .prefault({}),
  graceMs: z.int().min(100).max(60_000).default(2_000).describe('how long an instance may take to report what was placed on it, ms'),
  maxBookings: z.int().min(100).max(10_000_000).default(50_000).describe('placements remembered until reports show them'),
  prefixEntries: z.int().min(1_000).max(100_000_000).default(262_144).describe('(instance, block) pairs in the prefix index, in all'),
  prefixEntriesPerInstance: z.int().min(100).max(10_000_000).default(16_384).describe('the same for one instance'),
  prefixHolders: z.int().min(1).max(10_000).default(64).describe('instances remembered per prefix block: those that used it last'),
  sessions: z.int().min(100).max(10_000_000).default(50_000).describe('sessions remembered'),
  staleViewMs: z.int().min(100).max(600_000).default(3_000).describe('a fleet view older than this is used and counted, ms'),
  maxBatch: z.int().min(1).max(10_000).default(512).describe('requests in one batch; the rest of a larger one is to be asked again'),
  recordBuffer: z.int().min(0).max(1_000_000).default(2_000).describe('decision records waiting to be written; more are dropped and counted'),
  recordTtlMs: z.int().min(1_000).max(604_800_000).default(3_600_000).describe('how long a decision can be explained, ms'),
});
export type RouterConfig = z.infer<typeof routerSchema>;
