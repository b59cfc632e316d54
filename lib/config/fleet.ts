// The fleet file: which pools there are and what their instances look like. Every service reads the same one.
import { z } from 'zod';

const identifier = z.string().regex(/^[a-z0-9][a-z0-9-]{0,40}$/, 'lower-case letters, digits and dashes, at most 41 characters');

export const simEngineSchema = z.strictObject({
  /** A row of core/engine/profiles.ts. */
  profile: z.string(),
  /** 1 is the profile's real speed; 0.5 takes twice as long. */
  speed: z.number().min(0.001).max(1000).default(1),
  blocks: z.int().min(8).max(1_000_000).default(2048),
  blockTokens: z.int().min(1).max(1024).default(16),
  /** Real bytes kept and moved for each token. */
  kvBytesPerToken: z.int().min(8).max(1_048_576).default(256),
  maxRunning: z.int().min(1).max(4096).default(32),
  maxWaiting: z.int().min(0).max(100_000).default(64),
  /** Tokens of prefill per step (chunked prefill). */
  prefillChunk: z.int().min(16).max(65_536).default(512),
  maxContextTokens: z.int().min(64).max(10_000_000).default(16_384),
  prefixCache: z.boolean().default(true),
});
export type SimEngineConfig = z.infer<typeof simEngineSchema>;

export const poolSchema = z
  .strictObject({
    id: identifier,
    /** Names that clients use in "model". The first is the one that answers carry. */
    models: z.array(z.string().min(1)).min(1),
    role: z.enum(['mixed', 'prefill', 'decode']).default('mixed'),
    engine: z.enum(['sim']).default('sim'),
    sim: simEngineSchema,
    /** Instances at the first start. */
    instances: z.int().min(0).max(1000),
    min: z.int().min(0).default(0),
    max: z.int().min(1).max(10_000).default(8),
    /** Fewer instances than this need a person's approval. */
    floor: z.int().min(0).default(1),
    /** Micro-dollars per token. */
    price: z.strictObject({ inputMicros: z.number().min(0).default(0), outputMicros: z.number().min(0).default(0) }).prefault({}),
  })
  .refine((pool) => pool.min <= pool.max, { message: 'min must not exceed max', path: ['min'] });
export type PoolConfig = z.infer<typeof poolSchema>;

export const fleetSchema = z
  .strictObject({ pools: z.array(poolSchema).min(1) })
  .refine((fleet) => new Set(fleet.pools.map((pool) => pool.id)).size === fleet.pools.length, { message: 'two pools have the same id' })
  .refine((fleet) => new Set(fleet.pools.flatMap((pool) => pool.models)).size === fleet.pools.flatMap((pool) => pool.models).length, {
    message: 'a model name belongs to one pool only',
  });
export type FleetConfig = z.infer<typeof fleetSchema>;
