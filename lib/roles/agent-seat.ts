// An agent with a user of its own: it speaks for its instances, and for those that it may be told to start. What the role
// of agents allows for every instance it may say and hear for these alone.
import { subjectOf } from '../bus/subject.ts';
import * as contracts from '../contracts.ts';
import { type BusRole, everyService } from './roles.ts';

export interface SeatInstance {
  readonly pool: string;
  readonly id: string;
  /** It computes prompts for others, and hands the requests over to them. */
  readonly prefills?: boolean;
}

export interface AgentSeat {
  readonly instances: readonly SeatInstance[];
  /** What it may be told to start besides. Undefined: it starts and stops nothing, others do so with it. */
  readonly launches: readonly SeatInstance[] | undefined;
}

/** Of the user, and of its inbox: the first instance stands for all. */
export function seatName({ instances }: AgentSeat): string {
  const [first] = instances;
  if (!first) throw new Error('an agent with a user of its own has an instance');
  return `agent-${first.id}`;
}

function seatInstances({ instances, launches = [] }: AgentSeat): readonly SeatInstance[] {
  return [...instances, ...launches];
}

const moving = [contracts.reserve, contracts.copyStage, contracts.release, contracts.dropReservation];
const launching = [contracts.startInstance, contracts.stopInstance];

export function seatRole(seat: AgentSeat): Required<BusRole> {
  const all = seatInstances(seat);
  const givers = all.filter(({ prefills }) => prefills);
  const served = seat.launches === undefined ? moving : [...moving, ...launching];
  const of = <T extends { readonly pattern: string }>(contract: T, keys: readonly string[]): T => ({
    ...contract,
    pattern: subjectOf(contract.pattern, keys),
  });
  return {
    publishes: [
      ...(everyService.publishes ?? []),
      ...all.flatMap(({ pool, id }) => [of(contracts.instanceStatus, [pool, id]), of(contracts.prefixesCached, [pool, id])]),
    ],
    hears: everyService.hears ?? [],
    asks: [
      contracts.listRequests,
      // Blocks on whoever is to go on; away goes only what is its own.
      ...(givers.length > 0 ? [contracts.reserve, contracts.dropReservation] : []),
      ...givers.flatMap(({ id }) => [of(contracts.handOff, ['*', id]), of(contracts.handOffOutcome, ['*', id])]),
    ],
    serves: [...(everyService.serves ?? []), ...all.flatMap(({ id }) => served.map((contract) => of(contract, [id])))],
    records: [...new Set(all.map(({ pool }) => pool))].map((pool) => of(contracts.requestsDone, [pool])),
    consumes: [],
    reads: [],
  };
}
