// Settings of admission. Those of the queue, its times and `slo` may change while it runs. Pools, prices, leases, routing
// time-out, reservations and the key cache are taken at the start.
import { z } from 'zod';
import { defaultSloTargets } from '../../core/admission/slo.ts';
import { fleetSchema } from '../../lib/config/fleet.ts';

const targets = (defaults: { ttftMs: number; tpotMs: number }) =>
  z
    .strictObject({
      ttftMs: z.number().min(1).max(86_400_000).default(defaults.ttftMs).describe('target: arrival to first token, ms'),
      tpotMs: z.number().min(0).max(60_000).default(defaults.tpotMs).describe('target: time per output token after the first, ms'),
    })
    .prefault({});

export const admissionSchema = z.strictObject({
  leaseTtlMs: z.int().min(300).max(60_000).default(3_000).describe('a queue whose owner is gone gets a new one after this long, ms'),
  longPollMs: z.int().min(10).max(10_000).default(1_000).describe('a question is answered after this long, if only with "queued", ms'),
  maxQueued: z.int().min(1).max(100_000).default(2_000).describe('requests waiting per pool; at the limit the worst one is shed'),
  agingMs: z.int().min(100).max(3_600_000).default(10_000).describe('waiting that lifts a request by one class, later by one priority, ms'),
  maxIdleFlows: z.int().min(10).max(100_000).default(1_000).describe('fairness ids whose share is remembered while they have nothing queued'),
  allowedWaiting: z
    .int()
    .min(0)
    .max(10_000)
    .default(4)
    .describe('sequences that may wait at an instance; keep equal to the same setting of the router'),
  maxBatch: z.int().min(1).max(512).default(64).describe('requests sent to the router at once'),
  routeTimeoutMs: z.int().min(10).max(10_000).default(500).describe('the router is asked again, about the same requests, after this long, ms'),
  retryMs: z.int().min(1).max(10_000).default(100).describe('pause before a request that found no place is tried again, ms'),
  regatherMs: z.int().min(0).max(10_000).default(200).describe('a new owner lets queued requests come back for this long before it dispatches, ms'),
  statusMs: z.int().min(10).max(10_000).default(250).describe('what waits is looked at this often, and told when it has changed, ms'),
  heartbeatMs: z.int().min(100).max(60_000).default(1_000).describe('what waits is told this often in any case, ms'),
  unwellMs: z
    .int()
    .min(0)
    .max(600_000)
    .default(1_000)
    .describe('after all engines of a pool have failed for this long, requests are refused at once, ms'),
  lapseMs: z.int().min(1_500).max(600_000).default(5_000).describe('a request that nobody asks about any more is dropped after this long, ms'),
  assignedMs: z.int().min(2_000).max(600_000).default(15_000).describe('an assignment can be asked for again for this long, ms'),
  endedMs: z.int().min(1_000).max(600_000).default(10_000).describe('late repeats about requests that were refused or left are answered alike, ms'),
  maxAssigned: z
    .int()
    .min(10)
    .max(1_000_000)
    .default(20_000)
    .describe('recent assignments remembered per pool; at the limit the oldest is forgotten'),
  maxEnded: z.int().min(10).max(1_000_000).default(20_000).describe('refusals remembered per pool; at the limit the oldest is forgotten'),
  reservationTtlMs: z.int().min(10_000).max(86_400_000).default(600_000).describe('a reservation that nobody settles is given back, ms'),
  keyTtlMs: z.int().min(100).max(600_000).default(2_000).describe('limits of a key are read again after this long, ms'),
  keyCacheEntries: z.int().min(10).max(1_000_000).default(10_000).describe('API keys whose limits are remembered'),
  whenStoreAway: z.enum(['admit', 'refuse']).default('admit').describe('what becomes of limited keys while limits cannot be checked'),
  slo: z
    .strictObject({
      interactive: targets(defaultSloTargets.interactive),
      standard: targets(defaultSloTargets.standard),
      batch: targets(defaultSloTargets.batch),
    })
    .prefault({})
    .describe('targets of requests that name none; the queue serves the earliest TTFT target of a flow first'),
  fleet: fleetSchema,
});
export type AdmissionConfig = z.infer<typeof admissionSchema>;
