// Questions about the fleet to the publishing tracker, for who wants an answer now and no view that is kept up to date.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { FleetView, InstanceView } from '../../proto/gen/messages.ts';
import { getFleet } from '../contracts.ts';
import type { Bus } from '../ports/bus.ts';

/** A tracker that took over in the middle answers from another view: the pages are asked for anew, at most so often. */
const attempts = 3;

export interface FleetQuestion {
  /** For each page. */
  readonly timeoutMs: number;
  /** Leaves out the sequences: a tenth of the bytes. */
  readonly withoutSequences?: boolean;
}

/**
 * The whole fleet. Of one large enough for several pages each is as new as its question; version and time are the first
 * one's. @throws SwitchyardError what the bus throws; `not_owner` when trackers change too often
 */
export async function askFleet(bus: Bus, question: FleetQuestion): Promise<FleetView> {
  for (let attempt = 0; attempt < attempts; attempt++) {
    const pages: FleetView[] = [];
    for await (const page of pagesOf(bus, question)) pages.push(page);
    const first = pages[0]!;
    if (pages.some(({ epoch }) => epoch !== first.epoch)) continue;
    return { ...first, instances: pages.flatMap(({ instances }) => instances), nextAfter: '' };
  }
  throw new SwitchyardError('not_owner', 'trackers changed while the fleet was asked for; ask again');
}

/** Page after page, each asked for when the one before has been taken. */
export async function* pagesOf(bus: Bus, { timeoutMs, withoutSequences = false }: FleetQuestion): AsyncGenerator<FleetView> {
  let after = '';
  do {
    const page = await bus.request(getFleet, [], { after, instanceIds: [], withoutSequences }, { timeoutMs });
    yield page;
    if (page.nextAfter !== '' && page.nextAfter <= after) throw new SwitchyardError('internal', 'a page of the fleet that does not go on');
    after = page.nextAfter;
  } while (after !== '');
}

/** One instance as it is known now, which may be newer than the view, and when. Undefined: not known. */
export async function askInstance(bus: Bus, instanceId: string, timeoutMs: number): Promise<{ instance: InstanceView | undefined; atMs: number }> {
  const view = await bus.request(getFleet, [], { after: '', instanceIds: [instanceId], withoutSequences: false }, { timeoutMs });
  return { instance: view.instances.find(({ status }) => status?.instanceId === instanceId), atMs: view.atMs };
}
