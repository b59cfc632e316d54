import { describe, expect, test } from 'vitest';
import { exampleInstance as instance, exampleSequence as sequence } from '../tracking/example-fleet.ts';
import type { KnownInstance } from '../tracking/fleet-view.ts';
import { forecastDrain } from './drain.ts';
import { exampleLimits as limits, examplePlanning as planning } from './example-limits.ts';
import { type MoveQuestion, planMove } from './move-request.ts';
import type { PlanningView } from './planning.ts';

const one = (fields = {}) => instance({ instanceId: 'chat-1', sequences: [sequence({ requestId: 'r1', ...fields })] });
const two = (fields = {}, view = {}) => instance({ instanceId: 'chat-2', ...fields }, view);
const ask = (fields: Partial<MoveQuestion> = {}): MoveQuestion => ({
  requestId: 'r1',
  targetInstanceId: '',
  reason: 'operator',
  requestedBy: 'ada',
  ...fields,
});
const decide = (instances: KnownInstance[], question = ask(), view: Partial<PlanningView> = {}) =>
  planMove(planning(instances, view), question, limits);

describe('a move that was asked for', () => {
  test('goes to the freest instance when none is named', () => {
    const busy = instance({ instanceId: 'chat-2', sequences: [sequence({ requestId: 'x', promptTokens: 3_000 })] });
    expect(decide([one(), busy, instance({ instanceId: 'chat-3' })]).move).toMatchObject({
      targetInstanceId: 'chat-3',
      reason: 'operator',
      mode: 'copy',
      reasons: ['ada asked for it.', expect.stringContaining('chat-3 is the freest'), expect.stringContaining('Copies 176 tokens')],
    });
  });
  test('goes to one that prefills for others only when nobody else can take it', () => {
    const prefills = instance({ instanceId: 'chat-3', role: 'prefill' });
    const busy = two({ sequences: Array.from({ length: 4 }, (_, i) => sequence({ requestId: `b${i}` })) });
    expect(decide([one(), busy, prefills]).move?.targetInstanceId).toBe('chat-2');
    expect(decide([one(), two({ accepting: false }), prefills]).move?.targetInstanceId).toBe('chat-3');
    expect(decide([one(), busy, prefills], ask({ targetInstanceId: 'chat-3' })).move?.targetInstanceId).toBe('chat-3');
  });
  test('goes where the operator says', () => {
    expect(decide([one(), two(), instance({ instanceId: 'chat-3' })], ask({ targetInstanceId: 'chat-2' })).move?.targetInstanceId).toBe('chat-2');
  });
  test.each(['waiting', 'prefill'] as const)('is computed again when it is in %s: there is no KV worth copying', (state) => {
    expect(decide([one({ state }), two()])).toMatchObject({ move: { mode: 'recompute', expectedBytes: 0 }, early: true });
  });
  test('is not early where KV would not travel anyway', () => {
    expect(decide([one({ state: 'prefill' }), two({ kvBytesPerToken: 2 })])).toMatchObject({ move: { mode: 'recompute' }, early: false });
    expect(decide([one(), two()])).toMatchObject({ move: { mode: 'copy' }, early: false });
  });
  test('is computed again where KV cannot be moved', () => {
    expect(decide([one(), two({ kvBytesPerToken: 2 })]).move?.mode).toBe('recompute');
  });
  test('is found where its later epoch runs', () => {
    const before = one({ state: 'paused', epoch: 1 });
    const after = two({ sequences: [sequence({ requestId: 'r1', epoch: 2 })] });
    expect(decide([before, after, instance({ instanceId: 'chat-3' })]).move).toMatchObject({
      sourceInstanceId: 'chat-2',
      targetInstanceId: 'chat-3',
    });
  });

  const moving = { requestId: 'r1', toEpoch: 2, sourceInstanceId: 'chat-1', targetInstanceId: 'chat-2', reserveBlocks: 12 };
  const others = (count: number, requestId = 'o') =>
    Array.from({ length: count }, (_, i) => ({ ...moving, requestId: `${requestId}${i}`, targetInstanceId: 'chat-9' }));
  test.each<[string, KnownInstance[], Partial<MoveQuestion>, Partial<PlanningView>, string, RegExp]>([
    ['an unknown request', [one(), two()], { requestId: 'r9' }, {}, 'unknown_request', /no running request r9/],
    [
      'a request that arrives somewhere',
      [one(), two()],
      { requestId: 'r9' },
      { settling: [{ ...moving, requestId: 'r9' }] },
      'not_movable',
      /not reported yet/,
    ],
    ['a request that its old instance still reports', [one(), two()], {}, { settling: [moving] }, 'not_movable', /not reported yet/],
    ['a request that moves already', [one(), two()], {}, { active: [moving] }, 'already_moving', /being moved/],
    ['a paused request', [one({ state: 'paused' }), two()], {}, {}, 'already_moving', /being moved/],
    ['a request of a dead instance', [{ ...one(), health: 'dead' }, two()], {}, {}, 'not_movable', /chat-1 is dead/],
    ['an unknown target', [one(), two()], { targetInstanceId: 'chat-7' }, {}, 'unknown_instance', /no instance chat-7/],
    ['the instance where it runs', [one(), two()], { targetInstanceId: 'chat-1' }, {}, 'invalid_request', /runs on chat-1 already/],
    ['a target of another pool', [one(), two({ pool: 'large' })], { targetInstanceId: 'chat-2' }, {}, 'invalid_request', /serves pool large/],
    ['a dead target', [one(), two({}, { health: 'dead' })], { targetInstanceId: 'chat-2' }, {}, 'no_target', /chat-2 is dead/],
    ['a stale target', [one(), two({}, { stale: true })], { targetInstanceId: 'chat-2' }, {}, 'no_target', /not reported lately/],
    [
      'a cordoned target',
      [one(), two({}, { cordoned: true, cordonReason: 'drain' })],
      { targetInstanceId: 'chat-2' },
      {},
      'no_target',
      /cordoned \(drain\)/,
    ],
    ['a target that accepts nothing', [one(), two({ accepting: false })], { targetInstanceId: 'chat-2' }, {}, 'no_target', /accepts nothing/],
    ['a target without memory', [one(), two({ freeBlocks: 12 })], { targetInstanceId: 'chat-2' }, {}, 'target_full', /room for 4 blocks/],
    ['a target without a slot', [one(), two({ running: 32 })], { targetInstanceId: 'chat-2' }, {}, 'target_full', /runs 32 of 32/],
    [
      'a target with shorter contexts',
      [one(), two({ maxContextTokens: 500 })],
      { targetInstanceId: 'chat-2' },
      {},
      'target_full',
      /contexts up to 500/,
    ],
    [
      'a target that can do neither',
      [one(), two({ capabilities: [] })],
      { targetInstanceId: 'chat-2' },
      {},
      'not_movable',
      /neither copying nor recomputing/,
    ],
    ['a pool of one', [one()], {}, {}, 'no_target', /no other instance/],
    ['a pool where nobody can', [one(), two({}, { health: 'suspect' })], {}, {}, 'no_target', /chat-2 is suspect/],
    ['too many at the source', [one(), two()], {}, { active: others(4) }, 'not_movable', /chat-1 has 4 migrations/],
    [
      'too many overall',
      [one(), two()],
      {},
      { active: others(64).map((m) => ({ ...m, sourceInstanceId: 'chat-9' })) },
      'not_movable',
      /the limit is 64/,
    ],
    ['a finishing request, for a drain', [one({ maxOutputTokens: 20 }), two()], { reason: 'drain' }, {}, 'not_movable', /4 tokens to go/],
  ])('%s is refused', (_name, instances, question, view, code, message) => {
    const decided = decide(instances, ask(question), view);
    expect(decided.refusal).toMatchObject({ code, message: expect.stringMatching(message) });
  });
  test('what has moved and is reported may move on', () => {
    const arrived = two({ sequences: [sequence({ requestId: 'r1', epoch: 2 })] });
    expect(decide([one(), arrived, instance({ instanceId: 'chat-3' })], ask(), { settling: [moving] }).move).toMatchObject({
      sourceInstanceId: 'chat-2',
      sequence: { epoch: 2 },
    });
  });
  test.each([
    ['an unknown request', ask({ requestId: 'r9' }), {}, true],
    ['an unknown target', ask({ targetInstanceId: 'chat-9' }), {}, true],
    ['a move that no report shows yet', ask(), { settling: [moving] }, true],
    ['a move under way', ask(), { active: [moving] }, false],
    ['its own instance', ask({ targetInstanceId: 'chat-1' }), {}, false],
  ] as const)('a newer view may bring the answer for %s: %#', (_name, question, view, early) => {
    expect(decide([one(), two()], question, view)).toMatchObject({ early });
  });
  test('a source whose requests are on their way has no room for others before they are gone', () => {
    const leaving = { ...moving, requestId: 'x', sourceInstanceId: 'chat-2', targetInstanceId: 'chat-3' };
    const busy = instance({ instanceId: 'chat-2', totalBlocks: 110, sequences: [sequence({ requestId: 'x', promptTokens: 1_500 })] });
    const decided = decide([one(), busy], ask({ targetInstanceId: 'chat-2' }), { active: [leaving] });
    expect(decided.refusal).toMatchObject({ code: 'target_full', message: expect.stringMatching(/room for 7 blocks/) });
  });
  test('an operator may move a finishing request', () => {
    expect(decide([one({ maxOutputTokens: 20 }), two()]).move).toBeDefined();
  });
});

describe('draining', () => {
  const crowd = instance({ instanceId: 'chat-1', sequences: Array.from({ length: 6 }, (_, i) => sequence({ requestId: `r${i}`, priority: i % 2 })) });
  test('finds a place for each sequence, high priority first, without overfilling', () => {
    const forecast = forecastDrain(planning([crowd, two({ totalBlocks: 60 }), instance({ instanceId: 'chat-3', totalBlocks: 30 })]), 'chat-1', [], {
      ...limits,
      maxForcedPerInstance: 99,
    });
    if ('code' in forecast) throw new Error(forecast.message);
    expect(forecast.isLast).toBe(false);
    expect(forecast.moves.map((m) => m.sequence.requestId)).toEqual(['r1', 'r3', 'r5', 'r0', 'r2']);
    expect(forecast.stuck).toMatchObject([{ requestId: 'r4', refusal: { code: 'no_target' } }]);
  });
  test.each([
    ['nobody else', [], true],
    ['a healthy other', [two()], false],
    ['a cordoned other', [two({}, { cordoned: true, cordonReason: 'drain' })], true],
    ['a suspect other', [two({}, { health: 'suspect' })], true],
    ['another pool', [two({ pool: 'large' })], true],
  ])('with %s the instance is the last one: see third value', (_name, others, isLast) => {
    const forecast = forecastDrain(planning([crowd, ...others]), 'chat-1', [], limits);
    expect(forecast).toMatchObject({ isLast });
  });
  test('an instance whose drain has just begun does not count, although the view shows no cordon yet', () => {
    expect(forecastDrain(planning([crowd, two()]), 'chat-1', ['chat-2'], limits)).toMatchObject({ isLast: true });
  });
  test('unknown and dead instances are refused', () => {
    expect(forecastDrain(planning([crowd]), 'chat-9', [], limits)).toMatchObject({ code: 'unknown_instance' });
    expect(forecastDrain(planning([two({}, { health: 'dead' })]), 'chat-2', [], limits)).toMatchObject({ code: 'not_movable' });
  });
});
