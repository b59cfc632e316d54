import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { SequenceStatus } from '../../proto/gen/messages.ts';
import { exampleNowMs, exampleInstance as instance, exampleSequence as sequence } from '../tracking/example-fleet.ts';
import type { KnownInstance } from '../tracking/fleet-view.ts';
import { dispatchFreenessSteps } from '../tracking/freeness.ts';
import { exampleLimits as limits, examplePlanning as planning } from './example-limits.ts';
import { type Move, toPlan } from './planning.ts';
import { planRebalance } from './rebalance.ts';

/** `count` decoding sequences of `tokens` tokens each. */
function decoding(prefix: string, count: number, tokens: number, fields: Partial<SequenceStatus> = {}): SequenceStatus[] {
  return Array.from({ length: count }, (_, i) => sequence({ requestId: `${prefix}${i}`, promptTokens: tokens - 16, outputTokens: 16, ...fields }));
}

const full = (fields = {}) => instance({ instanceId: 'chat-1', sequences: decoding('a', 20, 768), ...fields }); // 960 of 1000 blocks
const empty = (fields = {}, view = {}) => instance({ instanceId: 'chat-2', sequences: [], ...fields }, view);

describe('imbalance', () => {
  test('a full instance gives its shortest sequence that is enough to a free one, and says why in numbers', () => {
    const moves = planRebalance(planning([full(), empty()]), limits);
    expect(moves).toMatchObject([{ sourceInstanceId: 'chat-1', targetInstanceId: 'chat-2', reason: 'imbalance', mode: 'copy', pool: 'chat' }]);
    expect(moves[0]?.reasons).toEqual([
      'chat-1 can decode 32 steps more, chat-2 no limit.',
      expect.stringMatching(/^Afterwards \d+ steps and \d+ steps: the gap shrinks and keeps its order\.$/),
      'Copies 768 tokens (0.8 MB) in about 61 ms; up to 984 tokens are left, 19680 ms of decoding.',
    ]);
  });
  test('the plan leaves no choice: blocks cover what is decoded meanwhile, the epoch is one higher', () => {
    const [move] = planRebalance(planning([full(), empty()]), limits);
    const how = {
      connections: 2,
      maxStages: 6,
      lastStageBlocks: 16,
      pauseLeaseMs: 2_000,
      reservationTtlMs: 10_000,
      withinMs: 30_000,
      shortMs: 1_000,
      bulkBytes: 1e9,
    };
    const plan = toPlan(move!, how, { migrationId: 'm', coordinatorEpoch: 3, nowMs: exampleNowMs, requestedBy: 'migration-coordinator' });
    expect(plan).toMatchObject({
      fromEpoch: 1,
      toEpoch: 2,
      gatewayId: 'gateway-1',
      targetAddress: 'ws://127.0.0.1/chat-2',
      deadlineMs: exampleNowMs + 30_000,
    });
    expect(plan.reserveBlocks).toBe(Math.ceil((768 + 4) / 16) + 1);
  });
  test.each<[string, KnownInstance[]]>([
    ['nobody is low', [empty({ instanceId: 'chat-1', sequences: decoding('a', 4, 768) }), empty()]],
    ['nobody has room', [full(), full({ instanceId: 'chat-2' })]],
    ['the other is dead', [full(), empty({}, { health: 'dead' })]],
    ['the other is suspect', [full(), empty({}, { health: 'suspect' })]],
    ['the other is stale', [full(), empty({}, { stale: true })]],
    ['the other is cordoned', [full(), empty({}, { cordoned: true, cordonReason: 'operator' })]],
    ['the other accepts nothing', [full(), empty({ accepting: false })]],
    ['the other serves another pool', [full(), empty({ pool: 'large' })]],
    ['the other computes prompts for all', [full(), empty({ role: 'prefill' })]],
    ['the other has no free slot', [full(), empty({ maxRunning: 0 })]],
    ['the other cannot take KV', [full(), empty({ capabilities: ['recompute'] })]],
    ['all are nearly finished', [full({ sequences: decoding('a', 20, 768, { maxOutputTokens: 30 }) }), empty()]],
    ['moving takes longer than finishing', [full({ sequences: decoding('a', 20, 768, { maxOutputTokens: 32 }), stepMs: 5 }), empty()]],
    ['nothing decodes yet', [full({ sequences: decoding('a', 20, 768, { state: 'prefill' }) }), empty()]],
  ])('nothing moves when %s', (_name, instances) => {
    expect(planRebalance(planning(instances), limits)).toEqual([]);
  });
  test('what a prefill instance is about to give away by itself is left to it; what stayed there leaves', () => {
    const from = (outputTokens: number) =>
      full({ role: 'prefill', sequences: decoding('a', 20, 768, { outputTokens, promptTokens: 768 - outputTokens }) });
    expect(planRebalance(planning([from(63), empty()]), limits)).toEqual([]);
    expect(planRebalance(planning([from(64), empty()]), limits)).toMatchObject([{ sourceInstanceId: 'chat-1', targetInstanceId: 'chat-2' }]);
  });
  test('lower priority leaves first, although it is longer', () => {
    const sequences = [...decoding('a', 18, 768, { priority: 1 }), ...decoding('low', 1, 1_500, { priority: -1 })];
    const [move] = planRebalance(planning([full({ sequences }), empty()]), { ...limits, priorityHeadroomShare: 0 });
    expect(move?.sequence.requestId).toBe('low0');
  });
  test('a request that was just moved stays until it has cooled down', () => {
    const all = new Map(decoding('a', 20, 768).map((s) => [s.requestId, exampleNowMs - 4_999]));
    expect(planRebalance(planning([full(), empty()], { movedAtMs: all }), limits)).toEqual([]);
    expect(planRebalance(planning([full(), empty()], { movedAtMs: all }), { ...limits, coolDownMs: 4_999 })).toHaveLength(1);
  });
  test('the smallest freeness is paired with the largest', () => {
    const fleet = [
      instance({ instanceId: 'chat-1', sequences: decoding('a', 20, 720) }),
      instance({ instanceId: 'chat-2', sequences: decoding('b', 20, 784) }),
      instance({ instanceId: 'chat-3', sequences: decoding('c', 10, 160) }),
      instance({ instanceId: 'chat-4', sequences: decoding('d', 2, 160) }),
    ];
    const moves = planRebalance(planning(fleet), limits);
    expect(moves.map((m) => [m.sourceInstanceId, m.targetInstanceId])[0]).toEqual(['chat-2', 'chat-4']);
  });
  test('what is on its way counts as if it were there: one move that is enough is not followed by another', () => {
    const fleet = [instance({ instanceId: 'chat-1', sequences: decoding('a', 18, 720) }), empty()]; // 810 used; 168 steps
    const view = planning(fleet);
    const tight = { ...limits, lowSteps: 200 };
    const [move] = planRebalance(view, tight);
    const { requestId, epoch } = move!.sequence;
    const onTheWay = { requestId, toEpoch: epoch + 1, sourceInstanceId: 'chat-1', targetInstanceId: 'chat-2', reserveBlocks: move!.reserveBlocks };
    expect(planRebalance({ ...view, active: [onTheWay] }, tight)).toEqual([]);
    expect(planRebalance({ ...view, settling: [onTheWay] }, tight)).toEqual([]);
    expect(planRebalance(planning(apply(fleet, [move!])), tight)).toEqual([]);
  });
  test('running migrations count against the limits and against the room of their target', () => {
    const active = { requestId: 'x', toEpoch: 2, sourceInstanceId: 'chat-9', targetInstanceId: 'chat-2', reserveBlocks: 980 };
    expect(planRebalance(planning([full(), empty()], { active: [active] }), limits)).toEqual([]);
    expect(planRebalance(planning([full(), empty()], { active: [{ ...active, reserveBlocks: 1 }] }), { ...limits, maxPerInstance: 1 })).toEqual([]);
    expect(planRebalance(planning([full(), empty()], { active: [{ ...active, targetInstanceId: 'chat-8' }] }), { ...limits, maxActive: 1 })).toEqual(
      [],
    );
  });
});

describe('fragmentation', () => {
  test('a queue whose head needs memory gets it by moving a sequence that is big enough', () => {
    const sequences = [
      ...decoding('a', 4, 3_200),
      ...decoding('b', 2, 1_120),
      sequence({ requestId: 'head', state: 'waiting', promptTokens: 1_600, outputTokens: 0 }),
    ];
    const moves = planRebalance(planning([full({ sequences }), empty()]), limits);
    expect(moves[0]).toMatchObject({ reason: 'fragmentation', sequence: { requestId: 'b0' } });
    expect(moves[0]?.reasons[0]).toBe('The first of 1 queued on chat-1 needs 100 blocks and 60 are free; chat-2 has 1000.');
  });
  test('a queue that waits for a slot is not helped by memory', () => {
    const sequences = [...decoding('a', 2, 160), sequence({ requestId: 'head', state: 'waiting', promptTokens: 1_600, outputTokens: 0 })];
    expect(planRebalance(planning([full({ sequences, maxRunning: 2 }), empty()]), limits)).toEqual([]);
  });
});

describe('priority', () => {
  test('ordinary requests leave an instance where high priority lacks headroom', () => {
    const sequences = [...decoding('high', 1, 768, { priority: 2 }), ...decoding('a', 17, 768)]; // 864 used, 136 free, headroom 100
    const [move] = planRebalance(planning([full({ sequences }), empty()]), { ...limits, lowSteps: 100 });
    expect(move).toMatchObject({ reason: 'priority', sequence: { priority: 0 } });
  });
  test('high priority itself is not moved for its own headroom', () => {
    const sequences = decoding('high', 18, 768, { priority: 2 });
    expect(planRebalance(planning([full({ sequences }), empty()]), { ...limits, lowSteps: 100 })).toEqual([]);
  });
});

// Properties, over random fleets.
const anyInstance = fc.record({
  lengths: fc.array(fc.integer({ min: 16, max: 3_000 }), { maxLength: 24 }),
  priority: fc.integer({ min: -1, max: 2 }),
  health: fc.constantFrom('healthy' as const, 'healthy' as const, 'suspect' as const, 'dead' as const),
  cordoned: fc.constantFrom(false, false, false, true),
  total: fc.integer({ min: 500, max: 2_000 }),
  queued: fc.nat(3),
  pool: fc.constantFrom('chat', 'chat', 'chat', 'large'),
});
const anyFleet = fc.array(anyInstance, { minLength: 1, maxLength: 6 }).map((list) =>
  list.map(({ lengths, priority, health, cordoned, total, queued, pool }, i) => {
    const sequences: SequenceStatus[] = [];
    let used = 0;
    for (const [j, tokens] of lengths.entries()) {
      const blocks = Math.ceil(tokens / 16);
      if (used + blocks > total) break;
      used += blocks;
      sequences.push(
        sequence({
          requestId: `r${i}-${j}`,
          promptTokens: Math.max(1, tokens - 8),
          outputTokens: Math.min(8, tokens - 1),
          priority: j % 3 === 0 ? priority : 0,
          maxOutputTokens: 2_000,
        }),
      );
    }
    for (let j = 0; j < queued; j++) sequences.push(sequence({ requestId: `q${i}-${j}`, state: 'waiting', promptTokens: 800, outputTokens: 0 }));
    return instance(
      { instanceId: `${pool}-${i}`, pool, totalBlocks: total, sequences },
      { health, cordoned, cordonReason: cordoned ? 'drain' : 'none' },
    );
  }),
);

/** The fleet after the moves, as if each took no time. */
function apply(fleet: readonly KnownInstance[], moves: readonly Move[]): KnownInstance[] {
  return fleet.map((each) => {
    const id = each.status.instanceId;
    const left = each.status.sequences.filter((s) => !moves.some((m) => m.sourceInstanceId === id && m.sequence.requestId === s.requestId));
    const arrived = moves.filter((m) => m.targetInstanceId === id).map((m) => ({ ...m.sequence, epoch: m.sequence.epoch + 1 }));
    const { totalBlocks, pool } = each.status;
    return instance(
      { instanceId: id, pool, totalBlocks, sequences: [...left, ...arrived] },
      { health: each.health, cordoned: each.cordoned, cordonReason: each.cordonReason },
    );
  });
}

describe('every round', () => {
  test('targets are known, healthy, uncordoned, of the same pool, and never overfilled', () => {
    fc.assert(
      fc.property(anyFleet, (fleet) => {
        const moves = planRebalance(planning(fleet), limits);
        const byId = new Map(fleet.map((each) => [each.status.instanceId, each]));
        const taken = new Map<string, number>();
        for (const move of moves) {
          const target = byId.get(move.targetInstanceId)!;
          expect(target).toMatchObject({ health: 'healthy', cordoned: false, stale: false });
          expect(target.status.pool).toBe(byId.get(move.sourceInstanceId)?.status.pool);
          expect(move.targetInstanceId).not.toBe(move.sourceInstanceId);
          taken.set(move.targetInstanceId, (taken.get(move.targetInstanceId) ?? 0) + move.reserveBlocks);
          expect(taken.get(move.targetInstanceId)).toBeLessThanOrEqual(target.status.freeBlocks);
        }
        expect(new Set(moves.map((m) => m.sequence.requestId)).size).toBe(moves.length);
        expect(moves.length).toBeLessThanOrEqual(limits.maxActive);
      }),
      { numRuns: 300 },
    );
  });
  test('the gap in freeness shrinks and keeps its order (one move, nothing queued)', () => {
    fc.assert(
      fc.property(anyFleet, (fleet) => {
        const calm = fleet.map((each) =>
          instance(
            { ...each.status, sequences: each.status.sequences.filter((s) => s.state !== 'waiting'), waiting: 0, waitingBlocks: 0, headBlocks: 0 },
            each,
          ),
        );
        const plain = { ...limits, maxActive: 1, priorityHeadroomShare: 0 };
        const moves = planRebalance(planning(calm), plain);
        for (const move of moves) {
          const steps = (list: readonly KnownInstance[], id: string) => dispatchFreenessSteps(list.find((i) => i.status.instanceId === id)!.status);
          const after = apply(calm, moves);
          const gap = (list: readonly KnownInstance[]) => steps(list, move.targetInstanceId) - steps(list, move.sourceInstanceId);
          expect(gap(after)).toBeLessThan(gap(calm));
          expect(gap(after)).toBeGreaterThanOrEqual(0);
        }
      }),
      { numRuns: 300 },
    );
  });
  test('rounds come to rest: no request goes back and forth, even without a cool-down', () => {
    fc.assert(
      fc.property(anyFleet, (first) => {
        let fleet: KnownInstance[] = first;
        const been = new Map<string, string[]>();
        let rounds = 0;
        for (let moves = planRebalance(planning(fleet), limits); moves.length > 0; moves = planRebalance(planning(fleet), limits)) {
          for (const {
            sequence: { requestId },
            targetInstanceId,
            sourceInstanceId,
          } of moves) {
            const path = been.get(requestId) ?? [sourceInstanceId];
            expect(path).not.toContain(targetInstanceId);
            been.set(requestId, [...path, targetInstanceId]);
          }
          fleet = apply(fleet, moves);
          expect(++rounds).toBeLessThan(200);
        }
      }),
      { numRuns: 200 },
    );
  });
  test('rounds come to rest while migrations and reports take their time, even without a cool-down', () => {
    fc.assert(
      fc.property(anyFleet, fc.integer({ min: 1, max: 4 }), fc.integer({ min: 0, max: 3 }), (first, migrationRounds, reportRounds) => {
        let reported: KnownInstance[] = first;
        let underWay: { move: Move; endsIn: number; reportedIn: number }[] = [];
        const been = new Map<string, string[]>();
        const asActive = ({ move }: (typeof underWay)[number]) => ({
          requestId: move.sequence.requestId,
          toEpoch: move.sequence.epoch + 1,
          sourceInstanceId: move.sourceInstanceId,
          targetInstanceId: move.targetInstanceId,
          reserveBlocks: move.reserveBlocks,
        });
        for (let round = 0, quiet = 0; quiet < 10; round++) {
          expect(round).toBeLessThan(500);
          const active = underWay.filter(({ endsIn }) => endsIn > 0).map(asActive);
          const settling = underWay.filter(({ endsIn }) => endsIn <= 0).map(asActive);
          const moves = planRebalance(planning(reported, { active, settling }), { ...limits, coolDownMs: 0 });
          quiet = moves.length === 0 && underWay.length === 0 ? quiet + 1 : 0;
          for (const { sequence: moved, sourceInstanceId, targetInstanceId } of moves) {
            const path = been.get(moved.requestId) ?? [sourceInstanceId];
            expect(path).not.toContain(targetInstanceId);
            been.set(moved.requestId, [...path, targetInstanceId]);
          }
          underWay = underWay.map((each) => ({ ...each, endsIn: each.endsIn - 1, reportedIn: each.reportedIn - 1 }));
          reported = apply(
            reported,
            underWay.filter(({ reportedIn }) => reportedIn <= 0).map(({ move }) => move),
          );
          underWay = underWay.filter(({ reportedIn }) => reportedIn > 0);
          underWay.push(...moves.map((move) => ({ move, endsIn: migrationRounds, reportedIn: migrationRounds + reportRounds })));
        }
      }),
      { numRuns: 150 },
    );
  });
  test('the same view gives the same moves, whatever the order of instances', () => {
    fc.assert(
      fc.property(anyFleet, (fleet) => {
        expect(planRebalance(planning([...fleet].reverse()), limits)).toEqual(planRebalance(planning(fleet), limits));
      }),
    );
  });
});
