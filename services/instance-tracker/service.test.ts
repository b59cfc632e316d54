import { beforeEach, describe, expect, test } from 'vitest';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { exampleStatus } from '../../core/tracking/example-fleet.ts';
import { FleetReplica } from '../../core/tracking/fleet-replica.ts';
import { compareViews } from '../../core/tracking/fleet-view.ts';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import * as contracts from '../../lib/contracts.ts';
import { askFleet, askInstance } from '../../lib/fleet/ask-fleet.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import type { Store } from '../../lib/ports/store.ts';
import { createMemoryWorld, type MemoryWorld } from '../../lib/run/memory-ports.ts';
import { killable } from '../../lib/testing/faulty-ports.ts';
import type { FleetView, InstanceStatus } from '../../proto/gen/messages.ts';
import { instanceTrackerSchema } from './config.ts';
import { instanceTracker } from './service.ts';

let world: MemoryWorld<VirtualClock>;
let agent: Bus;
let views: FleetView[];
const config = instanceTrackerSchema.parse({});
const sequenceNumbers = new Map<string, number>();

beforeEach(() => {
  world = createMemoryWorld();
  agent = world.ports('agent-1').bus;
  views = [];
  sequenceNumbers.clear();
  const replica = new FleetReplica();
  world.ports('router-1').bus.subscribe(contracts.fleetChanged, [], (delta) => {
    for (const _ of replica.take(delta)) views.push(replica.view()!);
  });
});

async function startTracker(id = 'instance-tracker-1') {
  const running = await instanceTracker.start(config, world.ports(id));
  await world.clock.until(() => running.owns().length > 0, 5_000);
  return running;
}

function report(instanceId: string, fields: Partial<InstanceStatus> = {}): void {
  const sequenceNumber = (sequenceNumbers.get(instanceId) ?? 0) + 1;
  sequenceNumbers.set(instanceId, sequenceNumber);
  agent.publish(contracts.instanceStatus, ['chat', instanceId], exampleStatus({ instanceId, incarnation: 1, sequenceNumber, ...fields }));
}

async function reportFor(ms: number, ...instanceIds: string[]): Promise<void> {
  for (let passed = 0; passed < ms; passed += 500) {
    for (const instanceId of instanceIds) report(instanceId);
    await world.clock.advance(500);
  }
}

const newest = () => views.at(-1)!;
const seen = (view: FleetView = newest()) => view.instances.map((i) => `${i.status?.instanceId}:${i.health}:${i.cordoned ? i.cordonReason : '-'}`);
const cordon = (instanceId: string, cordoned = true, reason: 'operator' | 'scale_in' = 'operator') =>
  agent.request(contracts.cordon, [], { instanceId, cordoned, reason }, { timeoutMs: 1_000 });

/** Time moves while the question is on its way. */
async function answered<T>(question: Promise<T>): Promise<T> {
  let result: { value: T } | { error: unknown } | undefined;
  question.then(
    (value) => (result = { value }),
    (error: unknown) => (result = { error }),
  );
  await world.clock.until(() => result !== undefined, 5_000);
  if (result && 'value' in result) return result.value;
  throw (result as unknown as { error: unknown }).error;
}

describe('the fleet view', () => {
  test('shows instances as they report, turn silent and come back', async () => {
    await startTracker();
    await reportFor(1_000, 'chat-1', 'chat-2');
    expect(seen()).toEqual(['chat-1:healthy:-', 'chat-2:healthy:-']);
    await reportFor(2_000, 'chat-1');
    expect(seen()).toEqual(['chat-1:healthy:-', 'chat-2:suspect:-']);
    await reportFor(1_500, 'chat-1');
    expect(seen()).toEqual(['chat-1:healthy:-', 'chat-2:dead:-']);
    await reportFor(500, 'chat-1', 'chat-2');
    expect(seen()).toEqual(['chat-1:healthy:-', 'chat-2:healthy:-']);
  });

  test('comes soon after a change, not more often than the shortest interval, and regularly when nothing happens', async () => {
    await startTracker();
    report('chat-1');
    await world.clock.advance(1_100);
    views.length = 0;
    for (let i = 0; i < 20; i++) {
      report('chat-1', { freeBlocks: 900 - i });
      await world.clock.advance(10);
    }
    await world.clock.advance(60);
    expect(views.length).toBeGreaterThanOrEqual(4);
    expect(views.length).toBeLessThanOrEqual(6);
    expect(newest().instances[0]?.status?.freeBlocks).toBe(881);
    expect(newest().version).toBeGreaterThan(views[0]!.version);
    views.length = 0;
    for (let i = 0; i < 10; i++) {
      report('chat-1', { freeBlocks: 881 });
      await world.clock.advance(500);
    }
    expect(views.length).toBe(5);
  });

  test('tells only of instances that changed, and of token counts alone once a second', async () => {
    await startTracker();
    await reportFor(3_000, 'chat-1', 'chat-2');
    // What was to be told of these reports has been.
    await world.clock.advance(300);
    const told: string[] = [];
    world.ports('router-2').bus.subscribe(contracts.fleetChanged, [], ({ changed }) => told.push(...changed.map(({ instanceId }) => instanceId)));
    report('chat-1', { freeBlocks: 3 });
    await world.clock.advance(60);
    expect(told).toEqual(['chat-1']);
    told.length = 0;
    await reportFor(5_000, 'chat-2');
    expect(told.filter((id) => id === 'chat-2').length).toBeGreaterThanOrEqual(4);
    expect(told.filter((id) => id === 'chat-2').length).toBeLessThanOrEqual(6);
  });

  test('a question that names an instance is answered from its newest report, told or not', async () => {
    await startTracker();
    await reportFor(2_000, 'chat-1');
    report('chat-1', { tokensOut: 77 });
    const { instance, atMs } = await answered(askInstance(agent, 'chat-1', 1_000));
    expect(instance?.status?.tokensOut).toBe(77);
    expect(atMs).toBeGreaterThanOrEqual(instance!.receivedAtMs);
    expect(newest().instances[0]?.status?.tokensOut).toBe(0);
    expect((await answered(askInstance(agent, 'chat-9', 1_000))).instance).toBeUndefined();
  });

  test('counts what is stale', async () => {
    await startTracker();
    await reportFor(500, 'chat-1', 'chat-2');
    await reportFor(3_000, 'chat-1');
    expect(world.telemetryOf('instance-tracker-1').value('switchyard_stale_instances', { pool: 'chat' })).toBe(1);
    expect(world.telemetryOf('instance-tracker-1').value('switchyard_instances', { pool: 'chat', health: 'dead' })).toBe(1);
  });

  test('a report under a wrong subject is refused and counted', async () => {
    await startTracker();
    agent.publish(contracts.instanceStatus, ['chat', 'chat-9'], exampleStatus({ instanceId: 'chat-1' }));
    await world.clock.advance(1_100);
    expect(newest().instances).toEqual([]);
    expect(world.telemetryOf('instance-tracker-1').value('switchyard_status_reports_total', { result: 'invalid' })).toBe(1);
  });

  test('a dead instance is forgotten, with the cordon that scale-in gave it', async () => {
    await startTracker();
    await reportFor(500, 'chat-1');
    await answered(cordon('chat-1', true, 'scale_in'));
    await world.clock.advance(62_000);
    expect(newest().instances).toEqual([]);
    await reportFor(500, 'chat-1');
    expect(seen()).toEqual(['chat-1:healthy:-']);
    expect(await world.store.list('fleet/cordon/')).toEqual([]);
  });
});

describe('a tracker without its bus', () => {
  test('kills nobody, and gives everyone time to report when the bus is back', async () => {
    const ports = world.ports('instance-tracker-1');
    let up = true;
    await instanceTracker.start(config, { ...ports, bus: { ...ports.bus, connected: () => up } });
    await reportFor(3_000, 'chat-1');
    up = false;
    await world.clock.advance(30_000);
    up = true;
    await world.clock.advance(1_000);
    expect(seen()).toEqual(['chat-1:healthy:-']);
    expect(newest().instances[0]?.stale).toBe(true);
    await world.clock.advance(3_500);
    expect(seen()).toEqual(['chat-1:dead:-']);
  });
});

test('changed settings are taken while it runs', async () => {
  const running = await startTracker();
  await reportFor(500, 'chat-1');
  running.reconfigure!(instanceTrackerSchema.parse({ staleMs: 5_000, suspectMs: 6_000, deadMs: 8_000, maxPublishMs: 200, snapshotMs: 300 }));
  await world.clock.advance(3_500);
  expect(seen()).toEqual(['chat-1:healthy:-']);
  expect(newest().instances[0]?.stale).toBe(false);
  views.length = 0;
  await world.clock.advance(1_000);
  expect(views.length).toBeGreaterThanOrEqual(4);
  await world.clock.advance(3_500);
  expect(seen()).toEqual(['chat-1:dead:-']);
});

describe('cordons', () => {
  test('are acknowledged when stored and in the view, and may be repeated', async () => {
    await startTracker();
    await reportFor(500, 'chat-1');
    for (let i = 0; i < 2; i++) expect((await answered(cordon('chat-1'))).refusal ?? null).toBeNull();
    const view = await answered(askFleet(agent, { timeoutMs: 1_000 }));
    expect(seen(view)).toEqual(['chat-1:healthy:operator']);
    await answered(cordon('chat-1', false));
    await world.clock.advance(60);
    expect(seen()).toEqual(['chat-1:healthy:-']);
  });
  test('of an unknown instance are refused', async () => {
    await startTracker();
    expect((await answered(cordon('chat-7'))).refusal?.code).toBe('unknown_instance');
  });
  test('of an instance that has just started wait for its first report', async () => {
    await startTracker();
    world.clock.after(300, () => report('chat-1'));
    expect((await answered(cordon('chat-1'))).refusal ?? null).toBeNull();
    expect(seen()).toEqual(['chat-1:healthy:operator']);
  });
  test('survive a restart of everything, and restored instances are suspect until they report', async () => {
    const running = await startTracker();
    await reportFor(2_000, 'chat-1', 'chat-2');
    await answered(cordon('chat-2'));
    await world.clock.advance(1_100);
    await settle(running.drain(0));
    views.length = 0;
    await startTracker('instance-tracker-2');
    await world.clock.advance(100);
    expect(seen(views[0])).toEqual(['chat-1:suspect:-', 'chat-2:suspect:operator']);
    await reportFor(1_000, 'chat-1', 'chat-2');
    expect(seen()).toEqual(['chat-1:healthy:-', 'chat-2:healthy:operator']);
  });
});

describe('take-over', () => {
  test('the second tracker publishes with a higher epoch and keeps cordons and health', async () => {
    const first = await startTracker();
    const second = await instanceTracker.start(config, world.ports('instance-tracker-2'));
    await reportFor(1_000, 'chat-1', 'chat-2');
    await answered(cordon('chat-1'));
    expect(second.owns()).toEqual([]);
    const epoch = newest().epoch;
    views.length = 0;
    await settle(first.drain(0));
    await world.clock.until(() => second.owns().length > 0, 5_000);
    await reportFor(500, 'chat-1', 'chat-2');
    expect(newest().trackerId).toBe('instance-tracker-2');
    expect(newest().epoch).toBeGreaterThan(epoch);
    expect(seen(views[0])).toEqual(['chat-1:healthy:operator', 'chat-2:healthy:-']);
  });
  test('when the publisher is killed, the second one publishes within its lease; views are newer, cordons and health stay', async () => {
    const first = killable(world.ports('instance-tracker-1'));
    const running = await instanceTracker.start(config, first.ports);
    await world.clock.until(() => running.owns().length > 0, 5_000);
    const second = await instanceTracker.start(config, world.ports('instance-tracker-2'));
    await reportFor(1_000, 'chat-1', 'chat-2');
    await answered(cordon('chat-1'));
    const before = newest();
    views.length = 0;
    first.kill('crash');
    await reportFor(4_000, 'chat-1', 'chat-2');
    expect(second.owns().length).toBe(1);
    expect(views.length).toBeGreaterThan(0);
    expect(views.every((view) => view.trackerId === 'instance-tracker-2' && compareViews(view, before) > 0)).toBe(true);
    expect(seen(views[0])).toEqual(['chat-1:healthy:operator', 'chat-2:healthy:-']);
  });
  test('one that was held up and comes back does not publish, nor acknowledge cordons, as if nothing had been', async () => {
    const first = killable(world.ports('instance-tracker-1'));
    const running = await instanceTracker.start(config, first.ports);
    await world.clock.until(() => running.owns().length > 0, 5_000);
    await instanceTracker.start(config, world.ports('instance-tracker-2'));
    await reportFor(1_000, 'chat-1');
    const question = { instanceId: 'chat-1', cordoned: true, reason: 'operator' as const };
    let late: unknown;
    first.kill('hang');
    agent.request(contracts.cordon, [], question, { timeoutMs: 10_000 }).then(
      () => (late = 'acknowledged'),
      (thrown) => (late = thrown.code),
    );
    await reportFor(5_000, 'chat-1');
    views.length = 0;
    first.resume();
    await reportFor(2_000, 'chat-1');
    expect(late).toBe('not_owner');
    expect(running.owns()).toEqual([]);
    expect(newest().trackerId).toBe('instance-tracker-2');
    expect(await answered(cordon('chat-1'))).toMatchObject({});
    expect(seen()).toEqual(['chat-1:healthy:operator']);
  });
  test('one that is cut off from the store gives way to who has taken over', async () => {
    const ports = world.ports('instance-tracker-1');
    let up = true;
    const store = new Proxy(ports.store, {
      get(target, name: keyof Store) {
        if (name === 'connected') return () => up;
        const call = target[name] as (...args: unknown[]) => Promise<unknown>;
        return (...args: unknown[]) => (up ? call.apply(target, args) : Promise.reject(new SwitchyardError('store_unavailable', 'cut off')));
      },
    });
    const running = await instanceTracker.start(config, { ...ports, store });
    await world.clock.until(() => running.owns().length > 0, 5_000);
    await instanceTracker.start(config, world.ports('instance-tracker-2'));
    await reportFor(1_000, 'chat-1');
    up = false;
    await reportFor(5_000, 'chat-1');
    views.length = 0;
    await reportFor(2_000, 'chat-1');
    expect(new Set(views.map((view) => view.trackerId))).toEqual(new Set(['instance-tracker-2']));
    expect((await answered(cordon('chat-1'))).refusal ?? null).toBeNull();
  });
  test('one tracker at a time publishes', async () => {
    await startTracker();
    await instanceTracker.start(config, world.ports('instance-tracker-2'));
    await reportFor(5_000, 'chat-1');
    expect(new Set(views.map((view) => view.trackerId))).toEqual(new Set(['instance-tracker-1']));
  });
});

async function settle(work: Promise<void>): Promise<void> {
  let done = false;
  void work.then(() => (done = true));
  await world.clock.until(() => done, 5_000);
}
