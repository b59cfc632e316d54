// Settings of the gateway.
import { z } from 'zod';
import { forbiddenFields } from '../../core/openai/forbidden-fields.ts';
import { fleetSchema } from '../../lib/config/fleet.ts';
import { httpTlsSettings } from '../../lib/config/http-tls.ts';

const serviceClassSchema = z.strictObject({
  sloClass: z.enum(['interactive', 'standard', 'batch']).default('standard'),
  priority: z.int().min(-1000).max(1000).default(0),
});

export const gatewaySchema = z
  .strictObject({
    host: z.string().default('127.0.0.1').describe('address that clients connect to'),
    port: z.int().min(0).max(65_535).default(8080).describe('port that clients connect to; 0 takes a free one'),
    ...httpTlsSettings,
    auth: z
      .enum(['open', 'keys'])
      .default('open')
      .describe('open: no API key is needed, though one that is presented counts; keys: every request needs one'),
    keyTtlMs: z
      .int()
      .min(10)
      .max(1_000)
      .default(900)
      .describe('how long a key is believed without a look at the store, and so how long a revoked one lives on, ms'),
    keyGraceMs: z.int().min(0).max(86_400_000).default(600_000).describe('how long a known key is believed while the store is away, ms'),
    maxKeys: z.int().min(16).max(1_000_000).default(10_000).describe('keys remembered'),
    maxBodyBytes: z.int().min(1_024).max(1_000_000_000).default(20_000_000).describe('largest request body; a larger one gets 413'),
    maxRequests: z.int().min(1).max(1_000_000).default(20_000).describe('requests that may be running or queued here; more get 429'),
    recentRequests: z.int().min(0).max(100_000).default(500).describe('ended requests that are still listed'),
    defaultMaxTokens: z.int().min(1).max(1_000_000).default(256).describe('output tokens of a request that sets no limit'),
    maxOutputTokens: z.int().min(1).max(10_000_000).default(131_072).describe('largest limit that a request may set'),
    forbiddenFields: z
      .array(z.string().min(1))
      .max(32)
      .default([...forbiddenFields])
      .describe('fields of a body that clients may not send to an engine, with dots for those of an object within; they are taken out'),
    objectives: z.record(z.string(), serviceClassSchema).default({}).describe('class and priority by the name in the inference-objective header'),
    queueMs: z.int().min(10).max(3_600_000).default(30_000).describe('longest wait in the queue, ms'),
    admitTimeoutMs: z
      .int()
      .min(50)
      .max(60_000)
      .default(1_500)
      .describe('longest wait for one answer of admission, which holds a question for a second, ms'),
    askAgainMs: z.int().min(1).max(10_000).default(100).describe('pause before asking admission again after no answer, ms'),
    queueGraceMs: z.int().min(0).max(10_000).default(250).describe('added to the queue deadline here, so that admission speaks first, ms'),
    stallMs: z.int().min(100).max(600_000).default(10_000).describe('silence of a running stream that counts as a failure of its instance, ms'),
    firstTokenMs: z.int().min(100).max(3_600_000).default(60_000).describe('the same before the first token, ms'),
    recoverMs: z.int().min(100).max(600_000).default(30_000).describe('a request whose instance failed must be running again after this, ms'),
    avoidMs: z.int().min(0).max(600_000).default(5_000).describe('how long an instance that failed is avoided by the same request, ms'),
    maxFailovers: z.int().min(0).max(100).default(5).describe('fail-overs of one request'),
    retryShare: z
      .number()
      .min(0)
      .max(10)
      .default(0.2)
      .describe('retries that each request adds to the budget for requests that engines turn away before the first token'),
    retryBurst: z.number().min(0).max(100_000).default(50).describe('retries in that budget at most, and at the start'),
    slowClientBytes: z
      .int()
      .min(65_536)
      .max(1_000_000_000)
      .default(4_194_304)
      .describe('bytes that a client may leave unread before its stream is ended'),
    connectMs: z.int().min(10).max(60_000).default(2_000).describe('limit for connecting to an agent, ms'),
    maxFrameBytes: z.int().min(65_536).max(1_073_741_824).default(67_108_864).describe('largest frame on a token link'),
    linkBufferBytes: z
      .int()
      .min(65_536)
      .max(4_294_967_295)
      .default(134_217_728)
      .describe('bytes waiting to go to one agent; a stream that would exceed it goes elsewhere'),
    linkIdleMs: z.int().min(1_000).max(86_400_000).default(60_000).describe('a link without streams is closed after this, ms'),
    maxKeptLinks: z
      .int()
      .min(0)
      .max(100_000)
      .default(1_000)
      .describe('links kept to agents of live instances, so that it is known at once when one is gone'),
    recordTimeoutMs: z.int().min(100).max(600_000).default(10_000).describe('limit for recording the end of a request, per try, ms'),
    recordTries: z.int().min(1).max(100).default(6).describe('tries to record the end of a request; then it is counted and logged'),
    maxUnrecorded: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(20_000)
      .describe('ends of requests waiting to be recorded; beyond it they are counted and logged'),
    slowTtftMs: z
      .int()
      .min(1)
      .max(3_600_000)
      .default(2_000)
      .describe('traces of requests whose first token came later are exported whatever the sampler says; a target of the request counts instead, ms'),
    slowTpotMs: z.int().min(1).max(600_000).default(200).describe('the same for the time per output token after the first, ms'),
    fleet: fleetSchema,
  })
  .refine((c) => c.maxFrameBytes > c.maxBodyBytes, {
    message: 'maxFrameBytes must exceed maxBodyBytes: a body travels in one frame',
    path: ['maxFrameBytes'],
  })
  .refine((c) => c.defaultMaxTokens <= c.maxOutputTokens, {
    message: 'defaultMaxTokens must not exceed maxOutputTokens',
    path: ['defaultMaxTokens'],
  });
export type GatewayConfig = z.infer<typeof gatewaySchema>;
