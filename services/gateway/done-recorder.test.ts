import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import { requestsDone } from '../../lib/contracts.ts';
import { createMemoryWorld, type MemoryWorld } from '../../lib/run/memory-ports.ts';
import type { RequestDone } from '../../proto/gen/messages.ts';
import { gatewaySchema } from './config.ts';
import { createDoneRecorder } from './done-recorder.ts';

const fleet = { pools: [{ id: 'chat', models: ['m'], instances: 1, sim: { profile: 'llama-3.1-8b-h100' } }] };
const config = gatewaySchema.parse({ fleet, maxUnrecorded: 300 });
const done = (requestId: string, pool = 'chat') => ({ requestId, pool }) as RequestDone;

describe('the recorder of ended requests', () => {
  let world: MemoryWorld<VirtualClock>;
  let told: string[][];

  beforeEach(() => {
    world = createMemoryWorld();
    told = [];
    world.ports('listener').bus.subscribe(requestsDone, ['*'], ({ ended }) => void told.push(ended.map(({ requestId }) => requestId)));
  });
  afterEach(() => world.clock.advance(60_000));

  const recorder = () => createDoneRecorder(world.ports('gateway-1'), config);

  test('tells the first end at once and those soon after it together', async () => {
    const { record } = recorder();
    for (const id of ['a', 'b', 'c']) record(done(id));
    await world.clock.advance(1);
    expect(told).toEqual([['a']]);
    await world.clock.advance(10);
    expect(told).toEqual([['a'], ['b', 'c']]);
    await world.clock.advance(100);
    record(done('d'));
    await world.clock.advance(1);
    expect(told.at(-1)).toEqual(['d']);
  });

  test('keeps pools apart, and a message small', async () => {
    const { record } = recorder();
    record(done('other', 'code'));
    for (let k = 0; k < 258; k++) record(done(`r${k}`));
    await world.clock.advance(1);
    expect(told.map((ids) => ids.length)).toEqual([1, 1, 256]);
  });

  test('sends what it has gathered when it must settle', async () => {
    const { record, settled } = recorder();
    for (const id of ['a', 'b']) record(done(id));
    const all = settled(1_000);
    await world.clock.advance(1);
    await all;
    expect(told).toEqual([['a'], ['b']]);
  });

  test('counts what it cannot hold', async () => {
    const { record } = recorder();
    for (let k = 0; k < 302; k++) record(done(`r${k}`));
    expect(world.telemetryOf('gateway-1').value('switchyard_audit_failures_total')).toBe(2);
  });
});
