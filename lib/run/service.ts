// What every service looks like from outside. lib/run/run-service.ts runs one as a process; cli/embedded runs all in one.
import type { ZodType } from 'zod';
import type { Ports } from '../ports/ports.ts';

export const serviceNames = [
  'gateway',
  'admission',
  'router',
  'instance-tracker',
  'migration-coordinator',
  'autoscaler',
  'agent',
  'worker',
  'console',
] as const;
export type ServiceName = (typeof serviceNames)[number];

export interface Service<Config> {
  readonly name: ServiceName;
  /** Strict: unknown keys are refused. Every setting has a default and a legal range. */
  readonly schema: ZodType<Config>;
  /** Resolves when the service can do its work or is waiting for others to (see `ready`). */
  start(config: Config, ports: Ports): Promise<Running<Config>>;
}

export interface Running<Config> {
  /** True, or the reason why not. */
  ready(): true | string;
  /** Leases held, for example queue/chat@7. */
  owns(): readonly string[];
  /** Takes a changed configuration while running. Absent: a change needs a restart. */
  reconfigure?(config: Config): void;
  /** Takes nothing new, finishes or hands over what it has, frees leases and listeners. */
  drain(withinMs: number): Promise<void>;
}
