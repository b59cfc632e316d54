// Every process is replaced by a new one, each in its turn and in order (SIGTERM, then a new start), under load. The short
// form restarts one process of each service.
import { expect } from 'vitest';
import { form } from '../form.ts';
import { progress, settle, startLoad, streaming } from '../load.ts';
import type { Row } from '../row.ts';

const rollingUpgrade: Row = {
  fault: `rolling upgrade: ${form.name === 'full' ? 'every process' : 'a process of every service'} restarted in turn`,
  mustHold: '0 failed requests, every process ends with 0',
  limitMs: 900_000,
  async run(world) {
    const load = startLoad(world, { clients: 12, outputTokens: 60, balanced: true });
    await streaming(world, 6);
    const chosen = form.name === 'full' ? world.fleet.ids() : world.fleet.services().map((service) => world.fleet.ids(service)[0]!);
    const codes: [string, number | null][] = [];
    for (const id of chosen) {
      codes.push([id, await world.fleet.terminate(id)]);
      world.fleet.start(id);
      await world.fleet.whole();
      await progress(load, 2);
    }
    const counts = await settle(world, load);
    expect(codes).toEqual(codes.map(([id]) => [id, 0]));
    return { ...counts, note: `${codes.length} processes` };
  },
};

export const rollingUpgradeRows: readonly Row[] = [rollingUpgrade];
