// kill -9 of the replica in charge: router, tracker, the owner of a queue. Each has another one.
import { expect } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import { countEngineTokens } from '../engine-tokens.ts';
import { form } from '../form.ts';
import { progress, settle, startLoad, streaming } from '../load.ts';
import type { Row } from '../row.ts';
import type { World } from '../world.ts';

interface Owner {
  readonly id: string;
  readonly epoch: number;
}

/** Who holds the lease, as the services tell it: `queue/chat@7`. The newest epoch counts. */
async function ownerOf(world: World, lease: string): Promise<Owner | undefined> {
  const owners = (await world.services()).flatMap(({ id, owns }) =>
    owns.filter((owned) => owned.startsWith(`${lease}@`)).map((owned) => ({ id, epoch: Number(owned.split('@')[1]) })),
  );
  return owners.sort((a, b) => b.epoch - a.epoch)[0];
}

async function settledOwner(world: World, lease: string, above = 0): Promise<Owner> {
  let owner: Owner | undefined;
  await eventually(`somebody owns ${lease} with an epoch above ${above}`, 30_000, async () => {
    owner = await ownerOf(world, lease);
    return { ok: owner !== undefined && owner.epoch > above, seen: owner };
  });
  return owner!;
}

function row(what: string, service: string, lease?: string): Row {
  return {
    fault: `kill -9 ${what}, which has a replica`,
    mustHold: `no accepted request fails, nothing is executed twice${lease ? ', the new owner has a higher epoch' : ''}`,
    limitMs: 60_000 + form.rounds * 60_000,
    async run(world) {
      const engines = await countEngineTokens(world);
      const load = startLoad(world, { clients: 16, outputTokens: 40 });
      await streaming(world, 8);
      const epochs: number[] = [];
      for (let round = 0; round < form.rounds; round++) {
        const owner = lease ? await settledOwner(world, lease) : undefined;
        const victim = owner?.id ?? world.fleet.ids(service)[round % world.fleet.ids(service).length]!;
        await world.fleet.kill(victim);
        if (lease) {
          const next = await settledOwner(world, lease, owner!.epoch);
          expect(next.epoch).toBeGreaterThan(owner!.epoch);
          epochs.push(next.epoch);
        }
        await progress(load, 16);
        world.fleet.start(victim);
        await world.fleet.whole();
      }
      const counts = await settle(world, load);
      await engines.saidOnce(counts.tokens);
      return { ...counts, note: lease ? `epochs ${epochs.join(', ')}` : `${form.rounds} killed` };
    },
  };
}

export const replicaKilled: readonly Row[] = [
  row('a router', 'router'),
  row('the tracker that publishes', 'instance-tracker', 'fleet/view'),
  row('the owner of the queue', 'admission', 'queue/chat'),
];
