// The way of KV blocks between two agents, cut in the middle of transfers, slow, or changing bytes.
import { expect } from 'vitest';
import type { MigrationsReport, MoveAnswer } from '../../../lib/operator/types.ts';
import { eventually } from '../../support/eventually.ts';
import type { KvLink, KvWeather } from '../../support/kv-link.ts';
import { form } from '../form.ts';
import { settle, startLoad, streaming } from '../load.ts';
import type { Row } from '../row.ts';

/** What the coordinator of this fleet takes a link's speed for. */
export const kvBytesPerSecond = 10_000_000;
const moves = 6;

function row(fault: string, weather: KvWeather, link: () => KvLink): Row {
  return {
    fault: `${fault} in the middle of KV transfers`,
    mustHold: 'the migration aborts or resumes, never wrong tokens',
    limitMs: 120_000 + form.rounds * 120_000,
    async run(world) {
      const operator = world.fleet.client('proof');
      const load = startLoad(world, { clients: 12, outputTokens: 200, promptWords: 600 });
      const before = await operator.get<MigrationsReport>('/migrations');
      const flippedBefore = link().flippedBytes;
      let asked = 0;
      for (let round = 0; round < form.rounds; round++) {
        await streaming(world, 10);
        const chosen = (await world.running()).filter((running) => running.tokens < 100 && running.pool === 'chat').slice(0, moves);
        const sentBefore = link().sentBytes;
        // A partition comes when bytes are under way; the other two are there from the start.
        if (weather.kind !== 'partition') link().become(weather);
        try {
          const answers = await Promise.allSettled(chosen.map(({ id }) => operator.post<MoveAnswer>('/migrate', { request: id, to: '' })));
          asked += answers.filter(({ status }) => status === 'fulfilled').length;
          await eventually('KV is under way', 30_000, () => ({ ok: link().sentBytes > sentBefore + 4_096, seen: link().sentBytes - sentBefore }));
          link().become(weather);
          await eventually('every migration has ended', 90_000, async () => {
            const { active } = await operator.get<MigrationsReport>('/migrations');
            return { ok: active.length === 0, seen: active.map(({ migrationId }) => migrationId) };
          });
        } finally {
          link().become({ kind: 'fair' });
        }
      }
      const counts = await settle(world, load);
      const after = await operator.get<MigrationsReport>('/migrations');
      const [committed, aborted] = [after.committed - before.committed, after.aborted - before.aborted];
      expect(asked).toBeGreaterThan(0);
      expect(committed + aborted).toBe(asked);
      const flipped = link().flippedBytes - flippedBefore;
      if (weather.kind === 'flip') expect(flipped).toBeGreaterThan(0);
      const changed = weather.kind === 'flip' ? `${flipped} bytes flipped, ` : '';
      return { ...counts, note: `${changed}${committed} migrations committed, ${aborted} aborted` };
    },
  };
}

export const badKvLink = (link: () => KvLink): readonly Row[] => [
  row('a partition between agents', { kind: 'partition' }, link),
  row('a link at 1 % of its speed', { kind: 'slow', bytesPerSecond: kvBytesPerSecond / 100 }, link),
  row('bytes flipped on the way', { kind: 'flip', everyBytes: 50_000 }, link),
];
