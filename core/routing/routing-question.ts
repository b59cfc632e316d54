// What a routing decision is asked, besides the table of its pool.
import type { RequestInfo } from '../../proto/gen/messages.ts';
import type { RoutingProfile } from './profile.ts';

export interface RoutingQuestion {
  readonly request: RequestInfo;
  readonly profile: RoutingProfile;
  readonly nowMs: number;
  /** Unsigned 32 bits. */
  readonly seed: number;
  readonly routerId: string;
}

/** Which picture of the fleet the table shows. */
export interface ViewFacts {
  readonly version: number;
  readonly epoch: number;
  readonly ageMs: number;
}
