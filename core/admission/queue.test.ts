import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AdmissionQueue, type QueueItem } from './queue.ts';
import { sloClasses } from './slo.ts';

const limits = { maxItems: 100, agingMs: 10_000, maxIdleFlows: 10 };

function anItem(requestId: string, item: Partial<QueueItem> = {}): QueueItem {
  const arrivalMs = item.arrivalMs ?? 0;
  return {
    requestId,
    sloClass: 'standard',
    priority: 0,
    arrivalMs,
    startByMs: arrivalMs + 5000,
    expiresAtMs: arrivalMs + 30_000,
    fairnessId: '',
    continuation: false,
    tokens: 100,
    ...item,
  };
}

function queueOf(items: readonly QueueItem[], maxItems = 100): AdmissionQueue {
  const queue = new AdmissionQueue({ ...limits, maxItems });
  for (const item of items) queue.add(item);
  return queue;
}

const ids = (items: readonly QueueItem[]) => items.map((item) => item.requestId);

describe('order', () => {
  test.each<[string, QueueItem[], string[]]>([
    ['arrival decides among equals', [anItem('b', { arrivalMs: 2 }), anItem('a', { arrivalMs: 1 })], ['a', 'b']],
    ['the earlier deadline goes before the earlier arrival', [anItem('a'), anItem('b', { arrivalMs: 1, startByMs: 100 })], ['b', 'a']],
    ['a higher priority goes before an earlier deadline', [anItem('a'), anItem('b', { priority: 1, arrivalMs: 9 })], ['b', 'a']],
    [
      'a better class goes before a higher priority',
      [anItem('a', { sloClass: 'batch', priority: 9 }), anItem('b'), anItem('c', { sloClass: 'interactive', priority: -1 })],
      ['c', 'b', 'a'],
    ],
    [
      'continuations go before everything, the oldest first',
      [
        anItem('a', { sloClass: 'interactive' }),
        anItem('b', { continuation: true, arrivalMs: 9 }),
        anItem('c', { continuation: true, arrivalMs: 8 }),
      ],
      ['c', 'b', 'a'],
    ],
    ['the id decides when all else is equal', [anItem('b'), anItem('a')], ['a', 'b']],
  ])('%s', (_, items, order) => {
    expect(ids(queueOf(items).take(10, 10, 10))).toEqual(order);
  });

  test('positions agree with the order of dispatch when all belong to one flow', () => {
    const item = fc.record({
      sloClass: fc.constantFrom(...sloClasses),
      priority: fc.integer({ min: -2, max: 2 }),
      arrivalMs: fc.nat({ max: 50_000 }),
      continuation: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(item, { maxLength: 30 }), (partials) => {
        const items = partials.map((partial, index) => anItem(`r${index}`, partial));
        const positions = new Map(items.map(({ requestId }) => [requestId, queueOf(items).positionOf(requestId, 50_000)]));
        expect(ids(queueOf(items).take(100, 100, 50_000)).map((id) => positions.get(id))).toEqual(items.map((_, index) => index + 1));
      }),
    );
  });

  test('order does not depend on the order of arrival in the queue', () => {
    const items = fc.array(fc.tuple(fc.nat({ max: 3 }), fc.constantFrom('x', 'y', 'z'), fc.nat({ max: 500 })), { maxLength: 30 });
    fc.assert(
      fc.property(items, (tuples) => {
        const list = tuples.map(([arrivalMs, fairnessId, tokens], index) => anItem(`r${index}`, { arrivalMs, fairnessId, tokens }));
        expect(ids(queueOf(list).take(100, 100, 100))).toEqual(ids(queueOf(list.toReversed()).take(100, 100, 100)));
      }),
    );
  });
});

describe('room', () => {
  test('continuations pass without room, others do not', () => {
    const queue = queueOf([anItem('a'), anItem('b', { continuation: true })]);
    expect(ids(queue.take(0, 10, 0))).toEqual(['b']);
    expect(queue.size).toBe(1);
  });

  test('a batch is never larger than asked for', () => {
    const queue = queueOf(Array.from({ length: 20 }, (_, index) => anItem(`r${index}`, { continuation: index < 4 })));
    expect(queue.take(10, 3, 0)).toHaveLength(3);
    expect(queue.take(10, 5, 0)).toHaveLength(5);
    expect(queue.take(2, 50, 0)).toHaveLength(2);
    expect(queue.size).toBe(10);
  });

  test('a request that just found no place lets others pass until it may try again', () => {
    const queue = queueOf([anItem('a'), anItem('b')]);
    const [taken] = queue.take(1, 1, 0);
    queue.putBack(taken!, 100);
    expect(queue.nextReadyMs(0)).toBe(100);
    expect(ids(queue.take(2, 2, 50))).toEqual(['b']);
    expect(ids(queue.take(2, 2, 100))).toEqual(['a']);
  });
});

describe('fairness', () => {
  test('two flows take turns although one came first with many requests', () => {
    const many = Array.from({ length: 6 }, (_, index) => anItem(`many-${index}`, { fairnessId: 'many', arrivalMs: index }));
    const few = Array.from({ length: 3 }, (_, index) => anItem(`few-${index}`, { fairnessId: 'few', arrivalMs: 10 + index }));
    expect(ids(queueOf([...many, ...few]).take(9, 6, 20))).toEqual(['few-0', 'many-0', 'few-1', 'many-1', 'few-2', 'many-2']);
  });

  test('turns are counted in tokens', () => {
    const large = Array.from({ length: 4 }, (_, index) => anItem(`large-${index}`, { fairnessId: 'large', tokens: 300, arrivalMs: index }));
    const small = Array.from({ length: 9 }, (_, index) => anItem(`small-${index}`, { fairnessId: 'small', tokens: 100, arrivalMs: index }));
    const taken = ids(queueOf([...large, ...small]).take(8, 8, 20));
    expect(taken.filter((id) => id.startsWith('large'))).toHaveLength(2);
  });

  test('a flow that was away does not save up its share', () => {
    const queue = queueOf([anItem('back-0', { fairnessId: 'back' })]);
    queue.take(1, 1, 0);
    for (let index = 0; index < 50; index++) {
      queue.add(anItem(`busy-${index}`, { fairnessId: 'busy' }));
      queue.take(1, 1, 0);
    }
    for (let index = 0; index < 6; index++) {
      queue.add(anItem(`x-busy-${index}`, { fairnessId: 'busy' }));
      queue.add(anItem(`x-back-${index}`, { fairnessId: 'back' }));
    }
    expect(ids(queue.take(6, 6, 0)).filter((id) => id.startsWith('x-busy')).length).toBeGreaterThanOrEqual(2);
  });

  test('over any run no waiting flow gets more than one request ahead of another', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 4 }), fc.integer({ min: 4, max: 40 }), (flows, rounds) => {
        const queue = queueOf([], 1000);
        for (let flow = 0; flow < flows; flow++) {
          for (let index = 0; index < rounds; index++) queue.add(anItem(`f${flow}-${index}`, { fairnessId: `f${flow}` }));
        }
        const taken = ids(queue.take(rounds, rounds, 0));
        const counts = Array.from({ length: flows }, (_, flow) => taken.filter((id) => id.startsWith(`f${flow}-`)).length);
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
      }),
    );
  });

  test('more flows may wait than idle ones are remembered, and each gets its turn', () => {
    const queue = new AdmissionQueue({ ...limits, maxItems: 1_000, maxIdleFlows: 10 });
    for (let index = 0; index < 400; index++) queue.add(anItem(`r${index}`, { fairnessId: `f${index % 200}`, arrivalMs: index }));
    const first = queue.take(200, 200, 500).map(({ fairnessId }) => fairnessId);
    expect(new Set(first).size).toBe(200);
    expect(new Set(queue.take(200, 200, 500).map(({ fairnessId }) => fairnessId)).size).toBe(200);
    expect(queue.size).toBe(0);
  });

  test('a request given back to the queue does not cost its flow a turn', () => {
    const queue = queueOf([anItem('a1', { fairnessId: 'a' }), anItem('b1', { fairnessId: 'b' })]);
    const [first] = queue.take(1, 1, 0);
    queue.putBack(first!, 0);
    expect(ids(queue.take(1, 1, 0))).toEqual(['a1']);
  });
});

describe('aging', () => {
  test('a batch request passes fresh interactive ones after long enough', () => {
    const queue = queueOf([anItem('old', { sloClass: 'batch', priority: -1 })]);
    const fresh = (nowMs: number) => anItem(`fresh-${nowMs}`, { sloClass: 'interactive', arrivalMs: nowMs, startByMs: nowMs + 100 });
    for (let nowMs = 1_000; nowMs < 30_000; nowMs += 1_000) {
      queue.add(fresh(nowMs));
      expect(ids(queue.take(1, 1, nowMs))).toEqual([`fresh-${nowMs}`]);
    }
    queue.add(fresh(30_000));
    expect(ids(queue.take(1, 1, 30_000))).toEqual(['old']);
  });
});

describe('shedding', () => {
  test.each<[string, QueueItem[], string]>([
    ['the lowest class', [anItem('a', { sloClass: 'batch', priority: 5 }), anItem('b', { priority: -5 })], 'a'],
    ['then the lowest priority', [anItem('a'), anItem('b', { priority: -1 })], 'b'],
    ['then the latest', [anItem('a', { arrivalMs: 1 }), anItem('b', { arrivalMs: 2 })], 'b'],
    ['a continuation last of all', [anItem('a', { continuation: true, sloClass: 'batch' }), anItem('b', { sloClass: 'interactive' })], 'b'],
  ])('takes %s', (_, items, worst) => {
    const queue = new AdmissionQueue({ ...limits, maxItems: 1 });
    const shed = items.map((item) => queue.add(item)).find((item) => item !== undefined);
    expect(shed?.requestId).toBe(worst);
    expect(queue.size).toBe(1);
  });

  test('the queue never holds more than its limit, and what is shed is never better than what stays', () => {
    const item = fc.record({
      id: fc.nat({ max: 60 }),
      sloClass: fc.constantFrom(...sloClasses),
      priority: fc.integer({ min: -2, max: 2 }),
      fairnessId: fc.constantFrom('x', 'y'),
      continuation: fc.boolean(),
      remove: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(item, { maxLength: 80 }), (partials) => {
        const queue = new AdmissionQueue({ ...limits, maxItems: 5 });
        const held = new Map<string, QueueItem>();
        for (const { id, remove, ...partial } of partials) {
          if (remove) {
            queue.remove(`r${id}`);
            held.delete(`r${id}`);
            continue;
          }
          const added = anItem(`r${id}`, partial);
          if (!held.has(added.requestId)) held.set(added.requestId, added);
          const shed = queue.add(added);
          if (shed) held.delete(shed.requestId);
          expect(queue.size).toBe(held.size);
          expect(queue.size).toBeLessThanOrEqual(5);
          for (const sloClass of sloClasses)
            expect(queue.depth(sloClass)).toBe([...held.values()].filter((each) => each.sloClass === sloClass).length);
          if (shed && !shed.continuation) {
            for (const kept of held.values()) {
              expect(kept.continuation || sloClasses.indexOf(kept.sloClass) <= sloClasses.indexOf(shed.sloClass)).toBe(true);
            }
          }
        }
      }),
    );
  });
});

test('expired requests are found, continuations never expire', () => {
  const queue = queueOf([
    anItem('a', { expiresAtMs: 10 }),
    anItem('b', { expiresAtMs: 11 }),
    anItem('c', { continuation: true, expiresAtMs: Number.POSITIVE_INFINITY }),
  ]);
  expect(ids(queue.expired(10))).toEqual(['a']);
  expect(ids(queue.expired(1e12))).toEqual(['a', 'b']);
});
