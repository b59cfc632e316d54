// SIGSTOP of an agent in the middle of its streams; SIGCONT when they have been continued elsewhere.
import { expect } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import { form } from '../form.ts';
import { settle, startLoad, streaming } from '../load.ts';
import type { Row } from '../row.ts';
import type { World } from '../world.ts';

async function dropped(world: World): Promise<number> {
  const counts = await Promise.all(world.fleet.ids('gateway').map((id) => world.metric(id, 'switchyard_tokens_dropped_total')));
  return counts.reduce((sum, count) => sum + count, 0);
}

const agentHangs: Row = {
  fault: 'an agent hangs (SIGSTOP) and wakes up after its requests were continued elsewhere',
  mustHold: 'its late tokens are refused by epoch, nothing is repeated',
  limitMs: 120_000 + form.rounds * 60_000,
  async run(world) {
    const before = await dropped(world);
    let late = 0;
    let continued = 0;
    const load = startLoad(world, { clients: 18, outputTokens: 200 });
    for (let round = 0; round < form.rounds; round++) {
      await streaming(world, 15);
      let on: string[] = [];
      await eventually('chat-1 speaks for some', 30_000, async () => {
        on = (await world.running()).filter((row) => row.instance === 'chat-1' && row.tokens < 100).map((row) => row.id);
        return { ok: on.length >= 3, seen: on };
      });
      world.fleet.freeze('agent-chat-1');
      try {
        await eventually('all of its requests run elsewhere', 60_000, async () => {
          const rows = await world.fleet.requests();
          const still = rows.filter((row) => row.instance === 'chat-1' && row.state !== 'completed').map((row) => `${row.id} ${row.state}`);
          return { ok: still.length === 0, seen: still };
        });
      } finally {
        world.fleet.thaw('agent-chat-1');
      }
      const lateBefore = late;
      await eventually('late tokens have come and were refused', 30_000, async () => {
        late = (await dropped(world)) - before;
        return { ok: late > lateBefore, seen: late };
      });
      await world.fleet.whole();
      continued += on.length;
    }
    const counts = await settle(world, load);
    expect(late).toBeGreaterThan(0);
    return { ...counts, note: `${continued} streams continued elsewhere, ${late} late events refused` };
  },
};

export const agentHangsRows: readonly Row[] = [agentHangs];
