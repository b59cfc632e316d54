// The fleet file: which pools there are and what their instances look like. Every service reads the same one.
import { z } from 'zod';

const identifier = z.string().regex(/^[a-z0-9][a-z0-9-]{0,40}$/, 'lower-case letters, digits and dashes, at most 41 characters');

export const simEngineSchema = z.strictObject({
  profile: z.string().describe('speeds and costs: a row of the table of engine profiles'),
  speed: z.number().min(0.001).max(1000).default(1).describe("1 is the profile's real speed; 0.5 takes twice as long"),
  blocks: z.int().min(8).max(1_000_000).default(2048).describe('KV blocks of an instance'),
  blockTokens: z.int().min(1).max(1024).default(16).describe('token slots of a block'),
  kvBytesPerToken: z.int().min(8).max(1_048_576).multipleOf(4).default(256).describe('real bytes kept and moved for each token'),
  maxRunning: z.int().min(1).max(4096).default(32).describe('sequences in the batch'),
  maxWaiting: z.int().min(0).max(100_000).default(64).describe('sequences that may wait at the engine; more are refused'),
  prefillChunk: z.int().min(16).max(65_536).default(512).describe('prompt tokens computed in a step (chunked prefill)'),
  maxContextTokens: z.int().min(64).max(10_000_000).default(16_384).describe('prompt and output of a request together'),
  prefixCache: z.boolean().default(true).describe('keep the KV of ended sequences for prompts that begin alike'),
});
export type SimEngineConfig = z.infer<typeof simEngineSchema>;

export const llamaEngineSchema = z.strictObject({
  model: z
    .string()
    .min(1)
    .default('smollm2')
    .describe('a GGUF file, smollm2 (fetched once), or random:<preset> (generated: exact, tiny, small, medium, exact-medium)'),
  contextTokens: z.int().min(256).max(1_048_576).default(2048).describe('prompt and output of a request together'),
  maxRunning: z.int().min(1).max(64).default(4).describe('sequences in the batch'),
  maxWaiting: z.int().min(0).max(100_000).default(64).describe('sequences that may wait at the engine; more are refused'),
  threads: z.int().min(1).max(256).default(1).describe('CPU threads of an instance'),
  niceness: z
    .int()
    .min(0)
    .max(19)
    .default(10)
    .describe('how far its computing gives way to other processes of the machine, as nice(1) has it; agents do not'),
  gpuLayers: z
    .int()
    .min(0)
    .max(1000)
    .default(0)
    .describe('layers of the model that a GPU computes, 1000: all; needs llama.cpp for GPUs (SWITCHYARD_LLAMA_GPU=1 npm start)'),
  prefillChunk: z.int().min(8).max(4096).default(32).describe('prompt tokens computed in a step'),
  flashAttention: z.boolean().default(false).describe('slower on CPUs, and its results depend on the number of threads'),
  prefixCache: z.boolean().default(true).describe('keep the KV of ended sequences for prompts that begin alike'),
  sampling: z
    .strictObject({
      temperature: z.number().min(0).max(100).default(0.8).describe('0 takes the likeliest token each time'),
      topP: z.number().min(0).max(1).default(0.95).describe('top_p'),
      topK: z.int().min(0).max(1_000_000).default(40).describe('top_k; 0 takes all'),
      minP: z.number().min(0).max(1).default(0.05).describe('min_p'),
    })
    .prefault({})
    .describe("for requests that do not say; as in llama.cpp's own server"),
});
export type LlamaEngineConfig = z.infer<typeof llamaEngineSchema>;

export const openaiEngineSchema = z.strictObject({
  servers: z
    .array(
      z.strictObject({
        id: identifier.optional().describe('instance; default: the name of the pool and a number'),
        url: z.url({ protocol: /^https?$/ }).describe('where the server listens, without /v1'),
        role: z.enum(['prefill', 'decode']).optional().describe('what it computes, where the servers of a pool share the work; default: decode'),
        kvEvents: z
          .string()
          .optional()
          .describe('ZMQ endpoint of its KV events: tcp://127.0.0.1:5557 where the server binds, tcp://*:5557 to wait for a server that connects'),
        kvReplay: z.string().optional().describe('ZMQ endpoint that repeats KV events after a gap'),
      }),
    )
    .min(1)
    .describe('one entry for each server'),
  kind: z.enum(['auto', 'vllm', 'sglang', 'llama-server', 'generic']).default('auto').describe('what the servers are; auto asks them'),
  model: z.string().min(1).optional().describe('name that the servers know the model by; default: what they list first'),
  apiKeyEnv: z.string().min(1).optional().describe('environment variable with the key that the servers want'),
  maxRunning: z.int().min(1).max(100_000).default(64).describe('requests at a server at once, where it does not say'),
  maxWaiting: z.int().min(0).max(100_000).default(64).describe('requests that may wait at a server'),
  contextTokens: z.int().min(64).max(10_000_000).default(16_384).describe('prompt and output together, where the server does not say'),
  pollMs: z.int().min(50).max(60_000).default(500).describe('pause between two questions for health, pause and metrics, ms'),
  slotDir: z.string().optional().describe('llama-server: the folder of --slot-save-path, shared by the servers'),
});
export type OpenaiEngineConfig = z.infer<typeof openaiEngineSchema>;

interface RolesOfPool {
  readonly role: string;
  readonly prefillInstances: number;
  readonly instances: number;
  readonly max: number;
  readonly openai?: OpenaiEngineConfig | undefined;
}

/** What cannot be meant: long prompts need somebody to compute them and somebody to go on. */
function wrongRoles({ role, prefillInstances, instances, max, openai }: RolesOfPool): { at: (string | number)[]; message: string }[] {
  const named = (openai?.servers ?? []).filter((server) => server.role !== undefined);
  const wrong: { at: (string | number)[]; message: string }[] = [];
  if (named.length > 0 && openai!.servers.every((server) => server.role === 'prefill'))
    wrong.push({ at: ['openai', 'servers'], message: 'leave at least one server without role: prefill, to decode what the others hand over' });
  if (named.length > 0 && role !== 'mixed')
    wrong.push({ at: ['role'], message: 'is of no use where openai.servers state their roles; leave it out' });
  if (prefillInstances === 0) return wrong;
  if (role !== 'mixed')
    wrong.push({ at: ['role'], message: 'is of no use with prefillInstances: the first ones prefill, the others decode; leave it out' });
  if (named.length > 0) wrong.push({ at: ['prefillInstances'], message: 'is of no use where openai.servers state their roles; leave it out' });
  if (prefillInstances >= instances)
    wrong.push({
      at: ['prefillInstances'],
      message: `must leave an instance that decodes: instances is ${instances}, so at most ${Math.max(0, instances - 1)}`,
    });
  if (prefillInstances >= max)
    wrong.push({ at: ['prefillInstances'], message: `must leave an instance that decodes: max is ${max}, so at most ${max - 1}` });
  return wrong;
}

export const poolSchema = z
  .strictObject({
    id: identifier.describe('name of the pool'),
    models: z.array(z.string().min(1)).min(1).describe('names that clients use in "model"; the first is the one that answers carry'),
    role: z
      .enum(['mixed', 'prefill', 'decode'])
      .default('mixed')
      .describe('what its instances compute, where they are all alike; with prefillInstances leave it out'),
    prefillInstances: z
      .int()
      .min(0)
      .max(999)
      .default(0)
      .describe('so many of its instances, the first ones, compute long prompts and hand the requests over to the others, which decode'),
    engine: z.enum(['sim', 'llama', 'openai']).default('sim').describe('serving software of its instances; its settings are under the same name'),
    sim: simEngineSchema.optional().describe('a simulated engine'),
    llama: llamaEngineSchema.optional().describe('llama.cpp, a process of its own beside the agent'),
    openai: openaiEngineSchema.optional().describe('servers that run already and speak the OpenAI API: vLLM, SGLang, llama-server'),
    instances: z.int().min(0).max(1000).describe('instances at the first start'),
    min: z.int().min(0).default(0).describe('scaling never goes below'),
    max: z.int().min(1).max(10_000).default(8).describe('scaling never goes above'),
    floor: z.int().min(0).default(1).describe("fewer instances than this need a person's approval"),
    price: z
      .strictObject({
        inputMicros: z.number().min(0).default(0).describe('micro-dollars per prompt token'),
        outputMicros: z.number().min(0).default(0).describe('micro-dollars per output token'),
      })
      .prefault({}),
  })
  .refine((pool) => pool.min <= pool.max, { message: 'min must not exceed max', path: ['min'] })
  .superRefine((pool, context) => {
    for (const { at, message } of wrongRoles(pool)) context.addIssue({ code: 'custom', path: at, message });
    for (const engine of ['sim', 'llama', 'openai'] as const) {
      if (engine === pool.engine && !pool[engine])
        context.addIssue({ code: 'custom', path: [engine], message: `is required with engine: ${engine}` });
      if (engine !== pool.engine && pool[engine])
        context.addIssue({ code: 'custom', path: [engine], message: `is of no use with engine: ${pool.engine}` });
    }
  });
export type PoolConfig = z.infer<typeof poolSchema>;

export const fleetSchema = z
  .strictObject({ pools: z.array(poolSchema).min(1).describe('one entry for each pool') })
  .refine((fleet) => new Set(fleet.pools.map((pool) => pool.id)).size === fleet.pools.length, { message: 'two pools have the same id' })
  .refine((fleet) => new Set(fleet.pools.flatMap((pool) => pool.models)).size === fleet.pools.flatMap((pool) => pool.models).length, {
    message: 'a model name belongs to one pool only',
  });
export type FleetConfig = z.infer<typeof fleetSchema>;
