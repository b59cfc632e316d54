// What a process proves itself with, read from a file of its own (SWITCHYARD_CREDENTIALS_FILE), so that secrets are in
// no environment and no command line. What the environment says comes first.
import { readFileSync, statSync } from 'node:fs';
import { z } from 'zod';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';

export const credentialsSchema = z.strictObject({
  /** `user` names one of several users of a service. */
  nats: z.strictObject({ nkeySeed: z.string(), user: z.string().optional() }).optional(),
  redis: z.strictObject({ user: z.string(), password: z.string() }).optional(),
  /** Of gateways, and of agents without secrets of their own; several with commas: the first is used, all are taken. */
  fleetSecret: z.string().optional(),
  /** Of an agent that speaks for its own instances alone. */
  agentSecrets: z.strictObject({ link: z.record(z.string(), z.string()), kv: z.string() }).optional(),
  /** Taken as if they were in the environment, which comes first. */
  settings: z.record(z.string(), z.string()).optional(),
});
export type Credentials = z.infer<typeof credentialsSchema>;

/** @throws SwitchyardError `invalid_config` */
export function readCredentials(path: string | undefined): Credentials {
  if (path === undefined) return {};
  try {
    return credentialsSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    // The cause may quote the file.
    throw new SwitchyardError('invalid_config', `SWITCHYARD_CREDENTIALS_FILE: ${path} cannot be read as credentials`, {
      cause: cause instanceof z.ZodError ? undefined : cause,
    });
  }
}

/** A sentence when others on this machine can read the file. */
export function credentialsWarning(path: string | undefined): string | undefined {
  if (path === undefined || (statSync(path).mode & 0o077) === 0) return undefined;
  return `${path} can be read by other users of this machine: chmod 600`;
}
