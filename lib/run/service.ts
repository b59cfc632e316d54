// What every service looks like from outside. lib/run/run-service.ts runs one as a process; cli/embedded runs all in one.
import type { ZodType } from 'zod';
import type { FixedSettings } from '../config/changes.ts';
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
  /** Settings that only a start takes. `reconfigure` gets their old values, and the log names those that changed. */
  readonly fixedSettings?: FixedSettings;
  /** Resolves when the service can do its work or is waiting for others to (see `ready`). */
  start(config: Config, ports: Ports): Promise<Running<Config>>;
}

export interface Running<Config> {
  /** True, or the reason why not. */
  ready(): true | string;
  /** Leases held, for example queue/chat@7. */
  owns(): readonly string[];
  /** Takes a changed configuration while running. Never called for a change of fixed settings alone. Absent: all are fixed. */
  reconfigure?(config: Config): void;
  /** Takes nothing new, finishes or hands over what it has, frees leases and listeners. */
  drain(withinMs: number): Promise<void>;
}
