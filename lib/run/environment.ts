// What a process takes from its environment. Settings of the service itself are in lib/config (SWITCHYARD_<SERVICE>_<KEY>).
import { z } from 'zod';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { problemsOf } from '../config/problems.ts';
import { exporterNames } from '../telemetry/exporters.ts';
import { logLevels } from '../telemetry/logger.ts';
import { samplerNames } from '../telemetry/sampler.ts';

const port = z.coerce.number().int().min(0).max(65_535);
const flag = z.enum(['true', 'false', '1', '0']).transform((text) => text === 'true' || text === '1');

export const environmentSchema = z.object({
  NATS_URL: z.string().default('nats://127.0.0.1:4222').describe('the bus; several servers are separated by commas'),
  NATS_TOKEN: z.string().optional().describe('token for NATS, where it wants one'),
  NATS_USER: z.string().optional().describe('user for NATS, where it wants one'),
  NATS_PASSWORD: z.string().optional().describe('password of that user'),
  NATS_NKEY_SEED: z.string().optional().describe('seed of an nkey for NATS, where it wants one; it is never sent'),
  NATS_CA: z.string().optional().describe('file of the authorities trusted for NATS over TLS (tls://)'),
  NATS_CERT: z.string().optional().describe('file of our certificate for NATS, where it wants one'),
  NATS_KEY: z.string().optional().describe('file of its key'),
  REDIS_URL: z.string().default('redis://127.0.0.1:6379').describe('the store; rediss:// is over TLS'),
  REDIS_CA_FILE: z.string().optional().describe('file of the authorities trusted for Redis over TLS'),
  REDIS_CERT_FILE: z.string().optional().describe('file of our certificate for Redis, where it wants one'),
  REDIS_KEY_FILE: z.string().optional().describe('file of its key'),
  TEMPORAL_ADDRESS: z.string().default('127.0.0.1:7233').describe('workflows; host and port'),
  TEMPORAL_API_KEY: z.string().optional().describe('API key for Temporal, where it wants one; switches TLS on'),
  TEMPORAL_TLS: flag.default(false).describe('TLS to Temporal; the files below switch it on as well'),
  TEMPORAL_TLS_SERVER_CA_CERT_PATH: z.string().optional().describe('file of the authorities trusted for Temporal'),
  TEMPORAL_TLS_CLIENT_CERT_PATH: z.string().optional().describe('file of our certificate for Temporal'),
  TEMPORAL_TLS_CLIENT_KEY_PATH: z.string().optional().describe('file of its key'),
  TEMPORAL_TLS_SERVER_NAME: z.string().optional().describe("name expected in Temporal's certificate, where it is not that of the address"),
  TEMPORAL_NAMESPACE: z.string().default('default').describe('namespace of the workflows'),
  OTEL_TRACES_EXPORTER: z.enum(exporterNames).default('none').describe('where spans are sent; the standard OTEL_EXPORTER_* variables say how'),
  OTEL_EXPORTER_OTLP_PROTOCOL: z.enum(['http/protobuf']).optional().describe('the only one there is'),
  OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: z.enum(['http/protobuf']).optional().describe('the only one there is'),
  OTEL_TRACES_SAMPLER: z
    .enum(samplerNames)
    .default('parentbased_traceidratio')
    .describe('which traces are exported, besides those of failed, moved and slow requests; with parentbased whoever began the trace decides'),
  OTEL_TRACES_SAMPLER_ARG: z.coerce.number().min(0).max(1).default(1).describe('share of traces that are exported, for the samplers with a ratio'),
  OTEL_RESOURCE_ATTRIBUTES: z.string().optional().describe('attributes of every span, key=value separated by commas'),
  OTEL_SDK_DISABLED: flag.default(false).describe('no spans at all, not even those that `switchyard trace` shows'),
  SWITCHYARD_ID: z
    .string()
    .max(100)
    .regex(/^[a-zA-Z0-9_-]+$/, 'letters, digits, dashes and underscores')
    .optional()
    .describe('name of this process; default: the service and six characters'),
  SWITCHYARD_CREDENTIALS_FILE: z
    .string()
    .optional()
    .describe(
      'JSON with the credentials of this process: `nats.nkeySeed`, `redis.user`, `redis.password`, `fleetSecret`; readable by its owner alone. `{service}` in it stands for the name of the service, where several run in one process',
    ),
  SWITCHYARD_FLEET_SECRET: z
    .string()
    .optional()
    .describe('gateways and agents prove to each other that they know it; several with commas: the first is used, all are taken'),
  SWITCHYARD_LINK_TLS_CERT_FILE: z.string().optional().describe('certificate of token links and KV connections: they are over TLS then'),
  SWITCHYARD_LINK_TLS_KEY_FILE: z.string().optional().describe('file of its key'),
  SWITCHYARD_LINK_TLS_CA_FILE: z
    .string()
    .optional()
    .describe('authorities trusted for token links and KV connections; where an agent has them, whoever connects needs a certificate of theirs'),
  SWITCHYARD_CONFIG_DIR: z.string().default('infra/config').describe('folder of fleet.yaml and <service>.yaml'),
  SWITCHYARD_HOST: z.string().default('127.0.0.1').describe('address to listen on, for every service with a `host` setting and for the probes'),
  SWITCHYARD_ADVERTISE_HOST: z
    .string()
    .optional()
    .describe("host in the addresses that others are told; default: the one listened on, or the machine's name when that is a wildcard"),
  SWITCHYARD_PROBE_HOST: z.string().optional().describe('address of /health, /readiness and /metrics; default: SWITCHYARD_HOST'),
  SWITCHYARD_PROBE_PORT: port.default(0).describe('their port; 0 takes a free one'),
  SWITCHYARD_DRAIN_MS: z.coerce
    .number()
    .int()
    .min(0)
    .max(3_600_000)
    .default(10_000)
    .describe('time to finish or hand over what runs, after SIGTERM, ms'),
  SWITCHYARD_LOG_LEVEL: z.enum(logLevels).default('info').describe('least level that is logged'),
  SWITCHYARD_LOG_FORMAT: z.enum(['json', 'pretty']).optional().describe('default: pretty on a terminal, otherwise json'),
  SWITCHYARD_PARENT_PIPE: z
    .enum(['stdin'])
    .optional()
    .describe('stdin: the process drains and ends when its standard input closes; set by a supervisor'),
});
export type Environment = z.infer<typeof environmentSchema>;

/** Empty variables count as absent. @throws SwitchyardError `invalid_config` that names every wrong variable */
export function readEnvironment(variables: Readonly<Record<string, string | undefined>>): Environment {
  const given = Object.fromEntries(Object.entries(variables).filter(([name, value]) => name in environmentSchema.shape && value !== ''));
  const result = environmentSchema.safeParse(given);
  if (result.success) return Object.freeze(result.data);
  const lines = problemsOf(result.error.issues, environmentSchema, given).map((problem) => `  ${problem.text}`);
  throw new SwitchyardError('invalid_config', `the environment is not valid:\n${lines.join('\n')}`);
}

/** Read by the exporters themselves. */
const exporterVariables = /^OTEL_EXPORTER_(OTLP|ZIPKIN)_/;

/** One sentence for each standard variable that is set and that nothing here reads. */
export function environmentWarnings(variables: Readonly<Record<string, string | undefined>>): string[] {
  return Object.keys(variables)
    .filter((name) => name.startsWith('OTEL_') && variables[name] !== '' && !(name in environmentSchema.shape) && !exporterVariables.test(name))
    .toSorted()
    .map((name) => `${name} is not read: see docs/config.md for the OTEL_ variables that are`);
}
