import { beforeEach, describe, expect, test } from 'vitest';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import { prefixesCached } from '../../lib/contracts.ts';
import type { EngineAdapter } from '../../lib/ports/engines.ts';
import { createMemoryWorld, type MemoryWorld } from '../../lib/run/memory-ports.ts';
import type { CachedPrefixes } from '../../proto/gen/messages.ts';
import { createCachedReports } from './cached-reports.ts';

let world: MemoryWorld<VirtualClock>;
let heard: CachedPrefixes[];
let cached: ReturnType<NonNullable<EngineAdapter['cachedPrefixes']>>;
let tell: () => void;

beforeEach(async () => {
  world = createMemoryWorld();
  heard = [];
  world.ports('router-1').bus.subscribe(prefixesCached, ['*', '*'], (report) => void heard.push(report));
  const adapter = { cachedPrefixes: () => cached } as unknown as EngineAdapter;
  const { bus, clock } = world.ports('agent-1');
  tell = createCachedReports({ bus, clock, adapter, pool: 'chat', instanceId: 'chat-1', incarnation: 5 });
  await world.clock.advance(10);
});

async function statusReports(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 50) {
    tell();
    await world.clock.advance(50);
  }
}

describe('reports of what is cached', () => {
  test('go out when something has changed, at most every 500 ms, and every 5 s anyway', async () => {
    cached = { version: 1, hashes: [3, 2, 1] };
    await statusReports(400);
    expect(heard).toMatchObject([{ instanceId: 'chat-1', pool: 'chat', incarnation: 5, sequenceNumber: 1, hashes: [3, 2, 1] }]);
    cached = { version: 2, hashes: [4] };
    await statusReports(400);
    expect(heard.map(({ hashes }) => hashes)).toEqual([[3, 2, 1], [4]]);
    await statusReports(4_000);
    expect(heard).toHaveLength(2);
    await statusReports(1_500);
    expect(heard.map(({ sequenceNumber }) => sequenceNumber)).toEqual([1, 2, 3]);
  });

  test('are silent while nothing is known, and hold no more than the most useful', async () => {
    cached = undefined;
    await statusReports(6_000);
    expect(heard).toEqual([]);
    cached = { version: 1, hashes: Array.from({ length: 5_000 }, (_, hash) => hash) };
    await statusReports(50);
    expect([heard[0]!.hashes.length, heard[0]!.hashes.at(-1)]).toEqual([4_096, 4_999]);
  });
});
