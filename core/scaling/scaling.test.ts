import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { exampleInstance } from '../tracking/example-fleet.ts';
import { decideSize } from './decide-size.ts';
import { exampleBand as band, exampleGuard as guard, examplePool as pool, exampleServer as server } from './example-pool.ts';
import { extrapolate, observe } from './forecast.ts';
import { type FreenessBandMemory, freenessBand } from './freeness-band.ts';
import { constrain } from './guard.ts';
import type { ScalingPolicy } from './policy.ts';
import { demandBlocks, loadWithPending, meanFreenessSteps, type PoolView, pending, slotsWithPending, supply } from './pool-view.ts';
import { planScale, refuseTarget } from './scale-plan.ts';

const policy = freenessBand(band);
const codes = (reasons: readonly { code: string }[]) => reasons.map((reason) => reason.code);

/** The proposal after the view has been the same for `ms`. */
function proposedAfter(view: PoolView, ms: number, settings = band) {
  const rule = freenessBand(settings);
  let memory: FreenessBandMemory = rule.start();
  let proposal = { target: supply(view), reasons: [] as readonly { code: string; text: string }[] };
  for (let passed = 0; passed <= ms; passed += 1_000) {
    const at = { ...view, nowMs: view.nowMs + passed };
    const [predicted, forecast] = rule.predict(at, memory);
    const [next, wanted] = rule.propose(at, forecast, predicted);
    memory = next;
    proposal = wanted;
  }
  return proposal;
}

const anyView = fc
  .record({
    count: fc.nat(8),
    loads: fc.array(fc.nat(24), { minLength: 8, maxLength: 8 }),
    suspects: fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
    min: fc.nat(3),
    extra: fc.integer({ min: 1, max: 5 }),
    floor: fc.nat(5),
    viewAgeMs: fc.constantFrom(0, 1_000, 10_000, Number.POSITIVE_INFINITY),
    pendingInstanceIds: fc.constantFrom([], ['chat-9']),
    planRunning: fc.boolean(),
    sinceMs: fc.integer({ min: 0, max: 100_000 }),
    recentMigrations: fc.nat(40),
  })
  .map(({ count, loads, suspects, min, extra, floor, sinceMs, ...rest }) => {
    const instances = Array.from({ length: count }, (_, i) => server(i + 1, loads[i]!, 40, { health: suspects[i] ? 'suspect' : 'healthy' }));
    const nowMs = pool([]).nowMs;
    return pool(instances, {
      ...rest,
      nowMs,
      bounds: { min, max: min + extra, floor },
      grewAtMs: nowMs - sinceMs,
      shrankAtMs: nowMs - sinceMs / 2,
    });
  });

describe('freeness band', () => {
  const busy = pool([server(1, 24), server(2, 24)]); // 80 free blocks for 48 sequences
  const idle = pool([server(1, 1), server(2, 1), server(3, 1)]);
  test.each<[string, PoolView, number, number, string[]]>([
    ['within the band nothing changes', pool([server(1, 10), server(2, 10)]), 60_000, 0, ['in_band']],
    ['low for a moment is not enough', busy, 9_000, 0, ['freeness_low', 'window_not_over']],
    ['low for the window: one more', busy, 10_000, 1, ['freeness_low']],
    ['what was ordered counts as if it were there', { ...busy, pendingInstanceIds: ['chat-3'] }, 60_000, 0, ['in_band']],
    ['high for a moment is not enough', idle, 59_000, 0, ['freeness_high', 'window_not_over']],
    ['high for the window: one fewer', idle, 60_000, -1, ['freeness_high']],
    ['an idle pool shrinks', pool([server(1, 0), server(2, 0)]), 60_000, -1, ['freeness_high']],
    [
      'but not when the others could not take the load',
      pool([server(1, 10, 40), server(2, 0)]),
      60_000,
      0,
      ['freeness_high', 'removal_would_overload'],
    ],
    [
      'instances that leave or are dead are no supply',
      pool([server(1, 24), server(2, 0, 0, { health: 'dead' }), server(3, 0, 0, { cordoned: true, cordonReason: 'scale_in' })]),
      10_000,
      1,
      ['freeness_low'],
    ],
  ])('%s', (_name, view, ms, change, expected) => {
    const settings = expected.includes('removal_would_overload') ? { ...band, removalSteps: 1_000 } : band;
    const proposal = proposedAfter(view, ms, settings);
    expect(proposal.target - supply(view)).toBe(change);
    expect(codes(proposal.reasons)).toEqual(expected);
  });
  test('slots count as well: a removal must leave one for each sequence', () => {
    const view = pool([server(1, 20, 1), server(2, 20, 1)]);
    const proposal = proposedAfter(view, 60_000, { ...band, highSteps: 400 });
    expect(codes(proposal.reasons)).toEqual(['freeness_high', 'removal_would_overload']);
    expect(proposal.reasons[1]?.text).toBe('Without chat-2 there are 32 slots for 40 sequences.');
  });
  test('growth that is coming counts', () => {
    const rule = freenessBand({ ...band, horizonMs: 30_000, upWindowMs: 0 });
    let memory = rule.start();
    const targets: number[] = [];
    for (let i = 0; i < 14; i++) {
      const view = pool([server(1, 4 + i)], { nowMs: 1_000 * i });
      const [predicted, forecast] = rule.predict(view, memory);
      const [next, proposal] = rule.propose(view, forecast, predicted);
      memory = next;
      targets.push(proposal.target);
    }
    expect(targets.at(-1)).toBe(2);
    expect(proposedAfter(pool([server(1, 17)]), 60_000).target).toBe(1);
  });
  test('F = (free - queued demand) / sequences x block size, the demand of admission counted like that of instances', () => {
    // 2 x 1000 blocks, 20 sequences of 40: 1200 free. 30 more at admission want 900.
    const view = pool([server(1, 10), server(2, 10)], { queued: { requests: 30, blocks: 900 } });
    expect(meanFreenessSteps({ ...view, queued: undefined })).toBe((1_200 / 20) * 16);
    expect(meanFreenessSteps(view)).toBe(((1_200 - 900) / 50) * 16);
    expect(meanFreenessSteps({ ...view, pendingInstanceIds: ['chat-3'] })).toBe(((2_200 - 900) / 50) * 16);
    expect(proposedAfter(view, 60_000)).toMatchObject({ target: 3, reasons: [{ code: 'freeness_low' }] });
  });
  test('the band of the paper is 10 to 60 blocks per sequence: its ends are inside', () => {
    const at = (blocksEach: number) => proposedAfter(pool([server(1, 10, 100 - blocksEach)]), 60_000, { ...band, removalSteps: 161 });
    expect([9, 10, 60, 61].map((blocksEach) => codes(at(blocksEach).reasons)[0])).toEqual(['freeness_low', 'in_band', 'in_band', 'freeness_high']);
  });
  test('a queue that memory could hold, but no slot can, is a reason to grow; pending slots count', () => {
    const view = pool([server(1, 32, 1), server(2, 32, 1)], { queued: { requests: 10, blocks: 10 } });
    const proposal = proposedAfter(view, 10_000);
    expect(proposal).toMatchObject({ target: 3, reasons: [{ code: 'slots_full' }] });
    expect(proposal.reasons[0]?.text).toMatch(/^74 sequences, queued ones counted, and 64 slots\. Mean freeness is/);
    expect(proposedAfter({ ...view, pendingInstanceIds: ['chat-3'] }, 10_000).target).toBe(3);
  });
  test('an empty pool that nobody waits for stays empty; a request wakes it', () => {
    const empty = pool([], { bounds: { min: 0, max: 6, floor: 0 } });
    expect(codes(proposedAfter(empty, 60_000).reasons)).toEqual(['no_demand']);
    expect(proposedAfter({ ...empty, queued: { requests: 1, blocks: 0 } }, 60_000).target).toBe(1);
  });
  test('reasons carry numbers', () => {
    expect(proposedAfter(busy, 10_000).reasons[0]?.text).toBe('Mean freeness is 27 steps; the band is 160 to 960.');
  });
});

describe('guard', () => {
  const three = pool([server(1, 1), server(2, 1), server(3, 1)]);
  const ask = (view: PoolView, target: number, limits = guard) => constrain(view, { target, reasons: [] }, limits);
  test.each<[string, Partial<PoolView>, number, number, string[]]>([
    ['no change needs no permission', { viewAgeMs: Number.POSITIVE_INFINITY }, 3, 3, []],
    ['growing by one is fine', {}, 4, 4, []],
    ['shrinking by one is fine', {}, 2, 2, []],
    ['nothing changes on a stale view, up', { viewAgeMs: 5_000 }, 4, 3, ['hold_stale_view']],
    ['nothing changes on a stale view, down', { viewAgeMs: Number.POSITIVE_INFINITY }, 2, 3, ['hold_stale_view']],
    ['one plan at a time', { planRunning: true }, 4, 3, ['hold_plan_running']],
    ['growing again waits', { grewAtMs: pool([]).nowMs - 9_000 }, 4, 3, ['hold_cooldown']],
    ['growing soon after shrinking does not wait', { shrankAtMs: pool([]).nowMs - 1_000 }, 4, 4, []],
    ['shrinking after growing waits', { grewAtMs: pool([]).nowMs - 59_000 }, 2, 3, ['hold_cooldown']],
    ['shrinking while load moves waits', { recentMigrations: 20 }, 2, 3, ['hold_migrations']],
    ['growing while load moves does not wait', { recentMigrations: 20 }, 4, 4, []],
    ['one step up at a time', {}, 6, 4, ['one_step']],
    ['one step down at a time', {}, 1, 2, ['one_step']],
    ['no more than the maximum', { bounds: { min: 1, max: 3, floor: 2 } }, 4, 3, ['at_max']],
    ['not below the floor unattended', { bounds: { min: 1, max: 6, floor: 3 } }, 2, 3, ['at_floor']],
    ['not below the minimum', { bounds: { min: 3, max: 6, floor: 1 } }, 2, 3, ['at_min']],
  ])('%s', (_name, fields, wanted, target, reasons) => {
    const result = ask({ ...three, ...fields }, wanted);
    expect([result.target, codes(result.reasons)]).toEqual([target, reasons]);
  });
  test('shrinking waits for ordered instances and for suspect ones', () => {
    expect(codes(ask({ ...three, pendingInstanceIds: ['chat-4'] }, 3).reasons)).toEqual(['hold_pending']);
    expect(codes(ask(pool([server(1, 1), server(2, 1), server(3, 1, 40, { health: 'suspect' })]), 2).reasons)).toEqual(['hold_unhealthy']);
  });
  test('shrinking waits until admission has said what waits; growing does not', () => {
    expect(codes(ask({ ...three, queued: undefined }, 2).reasons)).toEqual(['hold_queue_unknown']);
    expect(ask({ ...three, queued: undefined }, 4).target).toBe(4);
  });
  test('a pool larger than allowed is not shrunk by a wish to grow', () => {
    expect(ask({ ...three, bounds: { min: 1, max: 2, floor: 1 } }, 4).target).toBe(3);
  });
  test('never reverses a proposal, never exceeds it, moves one step at most, and shrinks to the floor at most', () => {
    fc.assert(
      fc.property(anyView, fc.nat(12), (view, wanted) => {
        const current = supply(view);
        const { target } = ask(view, wanted);
        expect(target).toBeGreaterThanOrEqual(Math.min(current, wanted));
        expect(target).toBeLessThanOrEqual(Math.max(current, wanted));
        expect(Math.abs(target - current)).toBeLessThanOrEqual(1);
        if (target > current) expect(target).toBeLessThanOrEqual(view.bounds.max);
        if (target < current) {
          expect(target).toBeGreaterThanOrEqual(Math.max(view.bounds.min, view.bounds.floor));
          expect(view.pendingInstanceIds).toEqual([]);
          expect(view.planRunning).toBe(false);
        }
        if (view.viewAgeMs > guard.maxViewAgeMs) expect(target).toBe(current);
      }),
    );
  });
  test('decisions are repeatable, and a change always has a reason', () => {
    fc.assert(
      fc.property(anyView, (view) => {
        const first = decideSize(policy, guard, view, policy.start());
        expect(decideSize(policy, guard, view, policy.start())).toEqual(first);
        expect(first[1].reasons.length).toBeGreaterThan(0);
      }),
    );
  });
  test('the minimum is restored whatever the load', () => {
    const [, decision] = decideSize(policy, guard, pool([], { bounds: { min: 2, max: 6, floor: 1 } }), policy.start());
    expect(decision).toMatchObject({ current: 0, proposed: 2, constrained: 1 });
    expect(codes(decision.reasons)).toContain('below_min');
  });
});

describe('a learned policy', () => {
  // What it takes: observations as a vector, a few actions, a mask of those that the guard would hold or weaken.
  const actions = [-1, 0, 1] as const;
  const observe = (view: PoolView): readonly number[] => {
    const load = loadWithPending(view);
    const blocks = Math.max(1, load.totalBlocks);
    return [
      1 - load.freeBlocks / blocks,
      load.waitingBlocks / blocks,
      load.sequences / Math.max(1, slotsWithPending(view)),
      pending(view).length / 8,
    ];
  };
  const maskOf = (view: PoolView) =>
    actions.map((change) => constrain(view, { target: supply(view) + change, reasons: [] }, guard).target === supply(view) + change);
  const learned = (weights: readonly (readonly number[])[]): ScalingPolicy<{ readonly observed: readonly number[] }> => ({
    name: 'learned',
    start: () => ({ observed: [] }),
    predict: (view) => [{ observed: observe(view) }, { demandBlocks: demandBlocks(loadWithPending(view)), horizonMs: 0 }],
    propose(view, _, memory) {
      const mask = maskOf(view);
      const scores = weights.map((row) => row.reduce((sum, weight, i) => sum + weight * memory.observed[i]!, 0));
      const best = actions.map((_, i) => i).sort((a, b) => Number(mask[b]) - Number(mask[a]) || scores[b]! - scores[a]!)[0]!;
      return [memory, { target: supply(view) + actions[best]!, reasons: [{ code: 'in_band', text: `Scores ${scores.join(', ')}.` }] }];
    },
  });
  test('fits the interface, and what its mask allows goes through the guard unchanged', () => {
    const weights = fc.array(fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 4, maxLength: 4 }), { minLength: 3, maxLength: 3 });
    fc.assert(
      fc.property(anyView, weights, (view, rows) => {
        const rule = learned(rows);
        const [memory, decision] = decideSize(rule, guard, view, rule.start());
        expect(memory.observed.every(Number.isFinite)).toBe(true);
        if (supply(view) >= view.bounds.min) expect(decision.constrained).toBe(decision.proposed);
        expect(JSON.parse(JSON.stringify(memory))).toEqual(memory);
      }),
    );
  });
});

describe('forecast', () => {
  test('follows a line and extends it', () => {
    let trend = observe(undefined, 0, 0, { levelWeight: 0.5, slopeWeight: 0.5 });
    for (let i = 1; i <= 50; i++) trend = observe(trend, 2 * i, i * 1_000, { levelWeight: 0.5, slopeWeight: 0.5 });
    expect(extrapolate(trend, 10_000)).toBeCloseTo(120, 0);
  });
  test('a sample that is not newer changes nothing', () => {
    const trend = observe(undefined, 5, 100, { levelWeight: 0.5, slopeWeight: 0.5 });
    expect(observe(trend, 9, 100, { levelWeight: 0.5, slopeWeight: 0.5 })).toBe(trend);
  });
});

describe('plans', () => {
  const terms = { scaleId: 's', epoch: 4, requestedBy: 'ada', reasons: ['why'], executeWithinMs: 1_000, approvalWithinMs: 5_000, drainWithinMs: 300 };
  test('growing takes the smallest numbers that nobody has', () => {
    const view = pool([server(1, 0), server(3, 0), server(4, 0, 0, { health: 'dead' })], { pendingInstanceIds: ['chat-5'] });
    expect(planScale(view, 6, terms)).toMatchObject({
      from: 3,
      to: 6,
      startInstanceIds: ['chat-2', 'chat-6', 'chat-7'],
      stopInstanceIds: [],
      needsApproval: false,
    });
  });
  test('shrinking takes the emptiest, then the newest, and suspect ones last', () => {
    const view = pool([server(1, 3), server(2, 1), server(3, 1), server(4, 0, 0, { health: 'suspect' })]);
    expect(planScale(view, 1, terms).stopInstanceIds).toEqual(['chat-3', 'chat-2', 'chat-1']);
    expect(planScale(view, 3, terms)).toMatchObject({
      stopInstanceIds: ['chat-3'],
      reasons: ['why', 'Stops those with the fewest requests: chat-3 (1).'],
    });
  });
  test('shrinking leaves those that prefill for the others', () => {
    const prefills = (n: number) => exampleInstance({ instanceId: `chat-${n}`, role: 'prefill', sequences: [] });
    const view = pool([prefills(1), prefills(2), server(3, 3), server(4, 1)]);
    expect(planScale(view, 3, terms).stopInstanceIds).toEqual(['chat-4']);
    expect(planScale(pool([prefills(1), prefills(2)]), 1, terms).stopInstanceIds).toEqual(['chat-2']);
  });
  test('below the floor people decide, and the time to execute begins after that', () => {
    const view = pool([server(1, 0), server(2, 0)]);
    expect(planScale(view, 1, terms)).toMatchObject({ needsApproval: true, approvalExpiresMs: view.nowMs + 5_000, deadlineMs: view.nowMs + 6_000 });
    expect(planScale({ ...view, bounds: { min: 1, max: 6, floor: 1 } }, 1, terms)).toMatchObject({
      needsApproval: false,
      deadlineMs: view.nowMs + 1_000,
    });
  });
  test('suspect and cordoned instances do not hold the floor', () => {
    const others = [server(2, 3, 40, { health: 'suspect' }), server(3, 3, 40, { health: 'suspect' })];
    expect(planScale(pool([server(1, 0), ...others]), 2, terms)).toMatchObject({ stopInstanceIds: ['chat-1'], needsApproval: true });
    const away = server(3, 0, 40, { cordoned: true, cordonReason: 'operator' });
    expect(planScale(pool([server(1, 0), server(2, 3), away]), 2, terms)).toMatchObject({ stopInstanceIds: ['chat-3'], needsApproval: false });
  });
  test('growing below the floor needs nobody', () => {
    expect(planScale(pool([], { bounds: { min: 0, max: 6, floor: 3 } }), 1, terms).needsApproval).toBe(false);
  });
  test.each<[string, Partial<PoolView>, number, string | undefined]>([
    ['within the range', {}, 4, undefined],
    ['above the range', {}, 7, 'out_of_range'],
    ['below the range', {}, 0, 'out_of_range'],
    ['half an instance', {}, 2.5, 'out_of_range'],
    ['while a plan runs', { planRunning: true }, 4, 'scaling_in_progress'],
    ['without a view', { viewAgeMs: Number.POSITIVE_INFINITY }, 4, 'stale_view'],
  ])('a wish %s', (_name, fields, target, code) => {
    expect(refuseTarget(pool([server(1, 0)], fields), target, 2_500)?.code).toBe(code);
  });
});
