import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { exampleLimits, examplePlanning } from '../../core/migration/example-limits.ts';
import { planMove } from '../../core/migration/move-request.ts';
import { toPlan } from '../../core/migration/planning.ts';
import { exampleInstance, exampleSequence, exampleNowMs as now } from '../../core/tracking/example-fleet.ts';
import { type MigrationMessage, migrationActor } from './actor.ts';
import { migrationCoordinatorSchema } from './config.ts';
import { endedFrom } from './effects.ts';
import { drainIdOf, instanceOfDrain, migrationIdOf, parseMigrationId } from './ids.ts';

const fleet = [
  exampleInstance({ instanceId: 'chat-1', sequences: [exampleSequence({ requestId: 'r1' })] }),
  exampleInstance({ instanceId: 'chat-2' }),
];
const { move } = planMove(examplePlanning(fleet), { requestId: 'r1', targetInstanceId: '', reason: 'operator', requestedBy: 'ada' }, exampleLimits);
const config = migrationCoordinatorSchema.parse({});
const plan = toPlan(move!, config, { migrationId: 'm1', coordinatorEpoch: 1, nowMs: now, requestedBy: 'ada' });
const ended = endedFrom(plan, { outcome: 'committed', code: '', stages: 1, blocks: 1, bytes: 1, downtimeMs: 1, totalMs: 100 }, now);
const actor = migrationActor({ checkAfterMs: 5_000 });
const run = (...messages: (MigrationMessage | { type: 'wake' })[]) =>
  messages.reduce<{ state: ReturnType<typeof actor.start>; effects: string[] }>(
    ({ state, effects }, message) => {
      const [next, more] = actor.step(state, message, now);
      actor.assertValid(next);
      return { state: next, effects: [...effects, ...more.map((effect) => effect.type)] };
    },
    { state: actor.start('m1', now), effects: [] },
  );
const planned = { type: 'planned', plan, traceparent: '' } as const;

describe('migration actor', () => {
  test('starts the workflow only when the plan is saved', () => {
    expect(run(planned).effects).toEqual([]);
    expect(run(planned, { type: 'go' }).effects).toEqual(['start_workflow']);
    expect(run(planned, { type: 'withdraw' }).effects).toEqual(['never_started']);
  });
  test('an end that overtakes the answer to the start is final', () => {
    const { state, effects } = run(planned, { type: 'go' }, { type: 'ended', ended }, { type: 'started' });
    expect(effects).toEqual(['start_workflow', 'saw_delay', 'finish']);
    expect(state.phase).toBe('ended');
    expect(actor.wakeAt(state)).toBeUndefined();
  });
  test('a start without an answer is looked up before it counts as not started', () => {
    expect(run(planned, { type: 'go' }, { type: 'start_failed' }).effects).toEqual(['start_workflow']);
    expect(run(planned, { type: 'go' }, { type: 'start_failed' }, { type: 'wake' }, { type: 'looked_up', found: 'unknown' }).state.phase).toBe(
      'starting',
    );
    expect(run(planned, { type: 'go' }, { type: 'start_failed' }, { type: 'wake' }, { type: 'looked_up', found: 'nothing' }).effects).toEqual([
      'start_workflow',
      'look_up',
      'never_started',
    ]);
  });
  test('one that was taken over is looked up at once', () => {
    expect(actor.wakeAt(run({ type: 'recovered', plan }).state)).toBe(now);
  });
  test('whatever is repeated or late, the workflow starts at most once and the end counts at most once', () => {
    const messages: (MigrationMessage | { type: 'wake' })[] = [
      planned,
      { type: 'go' },
      { type: 'withdraw' },
      { type: 'started' },
      { type: 'start_failed' },
      { type: 'ended', ended },
      { type: 'looked_up', found: 'nothing' },
      { type: 'looked_up', found: 'running' },
      { type: 'wake' },
    ];
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...messages), { maxLength: 30 }), (list) => {
        const { effects } = run(...list);
        expect(effects.filter((e) => e === 'start_workflow').length).toBeLessThanOrEqual(1);
        expect(effects.filter((e) => e === 'finish' || e === 'never_started').length).toBeLessThanOrEqual(1);
      }),
    );
  });
});

test('ids say what they stand for', () => {
  expect(parseMigrationId(migrationIdOf('req-a-b', 3, now))).toEqual({ requestId: 'req-a-b', toEpoch: 3 });
  expect(parseMigrationId('something')).toBeUndefined();
  expect(instanceOfDrain(drainIdOf('chat-1', 'msg-0123456789abcdef'))).toBe('chat-1');
});

test.each([
  ['lowSteps', { lowSteps: 500 }],
  ['pauseLeaseMs', { pauseLeaseMs: 20_000 }],
  ['mode', { mode: 'sometimes' }],
  ['an unknown key', { typo: 1 }],
])('a configuration with a wrong %s is refused', (_name, settings) => {
  expect(migrationCoordinatorSchema.safeParse(settings).success).toBe(false);
});
