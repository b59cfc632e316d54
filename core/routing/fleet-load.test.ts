import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { FleetView, InstanceView } from '../../proto/gen/messages.ts';
import type { FleetChange } from '../tracking/fleet-replica.ts';
import { FleetLoad } from './fleet-load.ts';
import { anInstance, aSequence, aView } from './routing-fixtures.ts';

const limits = { maxBookings: 100, graceMs: 100, bookingTtlMs: 10_000, handOffTtlMs: 5_000 };
const requests = ['r1', 'r2', 'r3'];
const instance = fc
  .record({
    id: fc.constantFrom('a', 'b', 'c', 'd'),
    pool: fc.constantFrom('chat', 'chat', 'code'),
    freeBlocks: fc.nat(100),
    listed: fc.subarray(requests),
    health: fc.constantFrom<InstanceView['health']>('healthy', 'dead'),
    cordoned: fc.boolean(),
  })
  .map(
    ({ id, pool, freeBlocks, listed, health, cordoned }) =>
      (sequenceNumber: number) =>
        anInstance(id, { pool, freeBlocks, sequenceNumber, sequences: listed.map((each) => aSequence(each)) }, { health, cordoned }),
  );
const step = fc.oneof(
  fc.record({
    kind: fc.constant('told' as const),
    changed: fc.uniqueArray(instance, { selector: (make) => make(0).status!.instanceId, maxLength: 3 }),
    removed: fc.subarray(['a', 'b', 'c', 'd']),
  }),
  fc.record({ kind: fc.constant('booked' as const), requestId: fc.constantFrom(...requests), instanceId: fc.constantFrom('a', 'b', 'e') }),
  fc.record({ kind: fc.constant('done' as const), requestId: fc.constantFrom(...requests) }),
);

/** Everything that decisions read. */
function picture(load: FleetLoad) {
  return ['chat', 'code'].map((pool) => {
    const table = load.pool(pool);
    const none = { prefixBlocks: new Map<number, number>(), sessionRow: -1 };
    const rows = table.ids.map((id, row) => ({ id, address: table.addresses[row], home: load.placeOf(id)?.row, input: table.inputOf(row, none) }));
    return {
      pool,
      rows,
      usable: table.usable,
      healthy: table.usableHealthy,
      derived: [[...table.sequences], [...table.freeAfterDemand], [...table.promptBacklog]],
    };
  });
}

test('told what changed it knows what it knows from whole views, and from neither more than there is', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const byChange = new FleetLoad(limits);
      const byView = new FleetLoad(limits);
      const current = new Map<string, InstanceView>();
      for (const [index, each] of steps.entries()) {
        const nowMs = index * 30;
        for (const load of [byChange, byView]) {
          if (each.kind === 'done') load.account.done(each.requestId, nowMs);
          if (each.kind === 'booked') load.account.book({ ...each, handOffInstanceId: '', epoch: 1, blocks: 5, computeTokens: 9, atMs: nowMs });
        }
        if (each.kind !== 'told') continue;
        const changed = each.changed.map((make) => make(index));
        const removed = each.removed.filter((id) => !changed.some(({ status }) => status!.instanceId === id));
        for (const id of removed) current.delete(id);
        for (const one of changed) current.set(one.status!.instanceId, one);
        const view: FleetView = aView([...current.values()], { version: index + 1 });
        const change: FleetChange = { ...view, whole: false, changed, removed };
        byChange.takeChange(change, nowMs);
        byView.takeView(view, nowMs);
        expect(picture(byChange)).toEqual(picture(byView));
        expect(byChange.account.size).toBe(byView.account.size);
      }
    }),
    { numRuns: 300 },
  );
});

test('a change writes the rows of its instances and no others; only who comes or goes makes a new table', () => {
  const load = new FleetLoad(limits);
  load.takeView(aView(['a', 'b', 'c'].map((id) => anInstance(id))), 0);
  const table = load.pool('chat');
  const version = table.version;
  load.takeChange({ ...aView([], { version: 2 }), whole: false, changed: [anInstance('b', { freeBlocks: 7, sequenceNumber: 2 })], removed: [] }, 50);
  expect(load.pool('chat')).toBe(table);
  expect([...table.numbers.freeBlocks]).toEqual([2048, 7, 2048]);
  expect(table.version - version).toBeLessThanOrEqual(2);
  load.takeChange({ ...aView([], { version: 3 }), whole: false, changed: [], removed: ['a'] }, 60);
  expect(load.pool('chat')).not.toBe(table);
  expect(load.pool('chat').ids).toEqual(['b', 'c']);
  expect([load.header?.version, load.placeOf('a')]).toEqual([3, undefined]);
});
