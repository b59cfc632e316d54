// How urgent a request is: from OpenAI's `service_tier`, or from the objective that a gateway header names.
import type { RequestInfo } from '../../proto/gen/messages.ts';

export type SloClass = RequestInfo['sloClass'];

export interface ServiceClass {
  readonly sloClass: SloClass;
  /** Higher first; below 0 may be shed. */
  readonly priority: number;
}

const tiers: Readonly<Record<string, ServiceClass>> = {
  auto: { sloClass: 'standard', priority: 0 },
  default: { sloClass: 'standard', priority: 0 },
  scale: { sloClass: 'standard', priority: 1 },
  priority: { sloClass: 'interactive', priority: 2 },
  fast: { sloClass: 'interactive', priority: 2 },
  flex: { sloClass: 'batch', priority: -1 },
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

function own(table: Readonly<Record<string, ServiceClass>>, name: string): ServiceClass | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}
