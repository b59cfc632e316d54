// What drains and changes of size look at right before they run: does the pool keep somebody who takes requests?
import { expect, test } from 'vitest';
import { exampleInstance, exampleView } from '../core/tracking/example-fleet.ts';
import type { DrainPlan } from '../core/workflows/catalogue.ts';
import type { ActivityContext } from '../core/workflows/control.ts';
import * as contracts from '../lib/contracts.ts';
import { createMemoryWorld } from '../lib/run/memory-ports.ts';
import type { ScalePlan } from '../proto/gen/messages.ts';
import { drainInstanceActivities } from './drain-instance/activities.ts';
import { scalePoolActivities } from './scale-pool/activities.ts';
import type { ActivitySettings } from './settings.ts';

const settings: ActivitySettings = {
  askMs: 1_000,
  stageMs: 1_000,
  handOverMs: 1_000,
  outcomeMs: 1_000,
  launchMs: 1_000,
  parallelMoves: 1,
  approvalsKeptMs: 1_000,
};
const context = {} as ActivityContext;
const drain: DrainPlan = { drainId: 'd', instanceId: 'chat-1', pool: 'chat', reason: 'drain', requestedBy: 'ada', withinMs: 1_000, approval: null };
const scaleIn = { scaleId: 's', pool: 'chat', from: 2, to: 1, stopInstanceIds: ['chat-1'], startInstanceIds: [], needsApproval: false } as never;

/** What the two checks answer while `other` stands beside a healthy chat-1. */
async function checked(other: Parameters<typeof exampleInstance>[1], plans: { drain?: Partial<DrainPlan>; scale?: Partial<ScalePlan> } = {}) {
  const world = createMemoryWorld();
  const view = exampleView([exampleInstance({ instanceId: 'chat-1' }), exampleInstance({ instanceId: 'chat-2' }, other)]);
  world.ports('instance-tracker-1').bus.serve(contracts.getFleet, [], () => view);
  const ports = world.ports('worker-1');
  const answers = [
    drainInstanceActivities(ports, settings).checkDrain(context, { ...drain, ...plans.drain }),
    scalePoolActivities(ports, settings).checkScale(context, { ...(scaleIn as ScalePlan), ...plans.scale }),
  ];
  let found: (string | undefined)[] | undefined;
  void Promise.all(answers).then((all) => (found = all.map(({ refusal }) => refusal?.code)));
  await world.clock.until(() => found !== undefined, 5_000);
  return found;
}

test('with another instance that takes requests both go on', async () => {
  expect(await checked({})).toEqual([undefined, undefined]);
});
test.each([
  ['suspect', { health: 'suspect' as const }],
  ['cordoned', { cordoned: true, cordonReason: 'operator' as const }],
])('when the other is %s, people must agree first', async (_name, other) => {
  expect(await checked(other)).toEqual(['approval_required', 'approval_required']);
});
test('people agreed, or want no instance at all and have a floor that says so', async () => {
  const agreed = { drain: { approval: {} as never }, scale: { needsApproval: true } };
  expect(await checked({ health: 'suspect' }, agreed)).toEqual([undefined, undefined]);
  const none = { scale: { to: 0, stopInstanceIds: ['chat-1', 'chat-2'] } };
  expect((await checked({}, none))?.[1]).toBeUndefined();
});
