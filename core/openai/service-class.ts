// How urgent a request is: from OpenAI's `service_tier`, or from the objective that a gateway header names.
import type { RequestInfo } from '../../proto/gen/messages.ts';

export type SloClass = RequestInfo['sloClass'];

export interface ServiceClass {
  readonly sloClass: SloClass;
  /** Higher first; below 0 may be shed. */
  readonly priority: number;
}

type Tier = ServiceClass & { /** What the answer says: the tier that served it. */ readonly used: string };

const tiers: Readonly<Record<string, Tier>> = {
  auto: { sloClass: 'standard', priority: 0, used: 'default' },
  default: { sloClass: 'standard', priority: 0, used: 'default' },
  scale: { sloClass: 'standard', priority: 1, used: 'scale' },
  priority: { sloClass: 'interactive', priority: 2, used: 'priority' },
  fast: { sloClass: 'interactive', priority: 2, used: 'priority' },
  flex: { sloClass: 'batch', priority: -1, used: 'flex' },
};

const ownObjectives: Readonly<Record<string, ServiceClass>> = {
  interactive: { sloClass: 'interactive', priority: 0 },
  standard: { sloClass: 'standard', priority: 0 },
  batch: { sloClass: 'batch', priority: 0 },
};

/**
 * The class of a request. The header's objective goes before the tier; a name that nobody knows counts as not given, as
 * OpenAI does with tiers.
 */
export function serviceClass(serviceTier: string, objective: string, objectives: Readonly<Record<string, ServiceClass>>): ServiceClass {
  return own(objectives, objective) ?? own(ownObjectives, objective) ?? own(tiers, serviceTier) ?? tiers.default!;
}

/** The tier that an answer states. Empty: the client named none. One that an objective has overruled, or nobody knows, is the default. */
export function usedTier(serviceTier: string, objective: string, objectives: Readonly<Record<string, ServiceClass>>): string {
  if (serviceTier === '') return '';
  const overruled = own(objectives, objective) ?? own(ownObjectives, objective);
  return overruled ? 'default' : (own(tiers, serviceTier)?.used ?? 'default');
}

function own<T extends ServiceClass>(table: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}
