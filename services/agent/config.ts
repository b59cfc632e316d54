// Settings of the agent.
import { z } from 'zod';
import { fleetSchema } from '../../lib/config/fleet.ts';

const placed = z.string().regex(/^[a-z0-9][a-z0-9-]{0,40}\/([a-z0-9][a-z0-9-]{0,60}|\*)$/, 'pool/instance, for example chat/chat-1');

export const agentSchema = z
  .strictObject({
    host: z.string().default('127.0.0.1').describe('address that token link and KV listener bind to'),
    linkPort: z.int().min(0).max(65_535).default(0).describe('port of the token link; 0 takes a free one'),
    kvPort: z.int().min(0).max(65_535).default(0).describe('port of the KV listener; 0 takes a free one'),
    instances: z
      .union([z.string(), z.array(z.string())])
      .default([])
      .transform((value) => (typeof value === 'string' ? value.split(',').map((part) => part.trim()) : value).filter((part) => part !== ''))
      .pipe(z.array(placed).max(1000))
      .describe('engines to run from the start, as pool/instance; pool/* is every server of an openai pool; a text lists them with commas'),
    launcher: z.boolean().default(false).describe('start and stop engines in this process when asked'),
    launches: z
      .union([z.string(), z.array(z.string())])
      .default(['*'])
      .transform((value) => (typeof value === 'string' ? value.split(',').map((part) => part.trim()) : value).filter((part) => part !== ''))
      .pipe(z.array(z.string().regex(/^(\*|[a-z0-9][a-z0-9-]{0,60})$/, 'an instance, for example chat-4, or *')).max(1000))
      .describe('instances that may be started here besides those of `instances`, a text lists them with commas; *: any'),
    maxInstances: z.int().min(1).max(1000).default(64).describe('engines in this process; a command to start more is refused'),
    launchLeaseMs: z.int().min(1_000).max(600_000).default(10_000).describe('lease that keeps two launchers from running the same instance, ms'),
    reportMinMs: z.int().min(1).max(1_000).default(50).describe('shortest time between two status reports of an instance, ms'),
    heartbeatMs: z.int().min(50).max(10_000).default(500).describe('longest time between two status reports of an instance, ms'),
    maxLinks: z.int().min(1).max(10_000).default(256).describe('token links at once; further ones are closed'),
    linkBufferBytes: z
      .int()
      .min(4_096)
      .max(1_073_741_824)
      .default(1_048_576)
      .describe('bytes a gateway may leave unread before the sequences of its link are held'),
    stuckLinkMs: z.int().min(100).max(600_000).default(30_000).describe('a link that stays over its limit this long is closed, ms'),
    orphanMs: z
      .int()
      .min(500)
      .max(600_000)
      .default(15_000)
      .describe('the end of a request whose link was closed is told by the agent when no gateway knows it after this long, ms'),
    maxFrameBytes: z.int().min(65_536).max(1_073_741_824).default(67_108_864).describe('largest frame on a token link'),
    pretend: z
      .record(z.string(), z.strictObject({ status: z.int().min(400).max(599), retryAfterMs: z.int().min(0).max(60_000).default(0) }))
      .default({})
      .describe('by instance: its simulated engine answers this status to everything, for trying out what follows'),
    llamaPackage: z
      .string()
      .min(1)
      .optional()
      .describe('folder whose node_modules has node-llama-cpp, for engines of kind llama; `npm start` provides one'),
    models: z
      .record(z.string(), z.string().min(1))
      .default({})
      .describe('GGUF files by what pools call them under `llama.model`; a name that is not here is taken as the path of a file'),
    handOffsAtOnce: z
      .int()
      .min(1)
      .max(256)
      .default(8)
      .describe('requests that prefill instances of this process hand over at the same time; others wait their turn, decoding where they are'),
    followFromBytes: z
      .number()
      .min(0)
      .max(1e15)
      .default(1e6)
      .describe('KV from which a request that is handed over as one state is followed by its target; less is copied while it stands still, bytes'),
    stageTimeoutMs: z.int().min(100).max(600_000).default(30_000).describe('limit for one copy stage, ms'),
    fleet: fleetSchema,
  })
  .superRefine((config, context) => {
    config.instances.forEach((entry, index) => {
      const [pool, instance] = entry.split('/');
      const found = config.fleet.pools.find(({ id }) => id === pool);
      if (found && instance === '*' && !found.openai)
        context.addIssue({ code: 'custom', path: ['instances', index], message: `${entry}: only pools with engine: openai list their instances` });
      if (!found) context.addIssue({ code: 'custom', path: ['instances', index], message: `there is no pool ${pool} in the fleet file` });
    });
  });
export type AgentConfig = z.infer<typeof agentSchema>;
