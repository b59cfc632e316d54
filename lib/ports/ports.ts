// Everything a service may touch of the world. Production gives real ones, tests and the simulator virtual ones.
import type { Bus } from './bus.ts';
import type { Clock } from './clock.ts';
import type { Http } from './http.ts';
import type { Net } from './net.ts';
import type { Rng } from './rng.ts';
import type { Store } from './store.ts';
import type { Telemetry } from './telemetry.ts';
import type { Workflows } from './workflows.ts';

export interface Ports {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly bus: Bus;
  readonly store: Store;
  readonly net: Net;
  readonly http: Http;
  readonly workflows: Workflows;
  readonly telemetry: Telemetry;
  /** This process among its siblings, for example router-1. Stable over the process's life, new after a restart. */
  readonly identity: Identity;
  /** A variable of the environment that a configuration names: secrets stand in no file. Undefined: it is not set. */
  readonly variable: (name: string) => string | undefined;
}

export interface Identity {
  readonly id: string;
  readonly pid: number;
}
