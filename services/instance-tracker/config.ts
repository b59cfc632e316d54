// Settings of the instance tracker.
import { z } from 'zod';

export const instanceTrackerSchema = z
  .strictObject({
    staleMs: z.number().min(100).max(60_000).default(1_200).describe('age of a report from which an instance is stale, ms'),
    suspectMs: z
      .number()
      .min(100)
      .max(60_000)
      .default(1_500)
      .describe('silence that makes an instance suspect, ms; reports come every 500 ms at least'),
    deadMs: z.number().min(200).max(120_000).default(3_000).describe('silence that makes an instance dead, ms'),
    forgetMs: z.number().min(1_000).max(86_400_000).default(60_000).describe('silence after which a dead instance leaves the view, ms'),
    forgetCordonedMs: z
      .number()
      .min(1_000)
      .max(604_800_000)
      .default(86_400_000)
      .describe('the same for a dead instance that an operator or a drain cordoned: its cordon must outlive a long repair, ms'),
    minPublishMs: z.number().min(1).max(1_000).default(50).describe('shortest time between two views, ms'),
    maxPublishMs: z.number().min(100).max(10_000).default(1_000).describe('longest time between two views, ms'),
    snapshotMs: z.number().min(100).max(60_000).default(1_000).describe('time between snapshots in the store, ms'),
    leaseMs: z
      .number()
      .min(500)
      .max(60_000)
      .default(3_000)
      .describe('lease of the publishing tracker: another one takes over this long after its death, ms'),
    maxInstances: z.int().min(1).max(100_000).default(10_000).describe('instances tracked; reports of further ones are refused and counted'),
  })
  .refine((c) => c.suspectMs < c.deadMs, { message: 'suspectMs must be less than deadMs', path: ['suspectMs'] })
  .refine((c) => c.minPublishMs <= c.maxPublishMs, { message: 'minPublishMs must not exceed maxPublishMs', path: ['minPublishMs'] })
  .refine((c) => c.forgetMs >= c.deadMs, { message: 'forgetMs must not be less than deadMs', path: ['forgetMs'] });
export type InstanceTrackerConfig = z.infer<typeof instanceTrackerSchema>;
