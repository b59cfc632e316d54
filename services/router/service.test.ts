import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { replayDecision } from '../../core/routing/replay.ts';
import { anInstance, aRequest, aSequence, aView } from '../../core/routing/routing-fixtures.ts';
import { announced } from '../../core/tracking/example-fleet.ts';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import { booked, fleetChanged, getFleet, prefixesCached, queueOwnerChanged, requestsDone, route } from '../../lib/contracts.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { createMemoryWorld, type MemoryWorld } from '../../lib/run/memory-ports.ts';
import type { Running } from '../../lib/run/service.ts';
import { type Booking, DecisionRecord, type FleetView, type InstanceView, type RequestInfo } from '../../proto/gen/messages.ts';
import { type RouterConfig, routerSchema } from './config.ts';
import { router } from './service.ts';

let world: MemoryWorld<VirtualClock>;
let tracker: Ports;
let caller: Ports;
let running: Running<RouterConfig>[];
let version: number;

beforeEach(() => {
  world = createMemoryWorld();
  tracker = world.ports('instance-tracker-1');
  caller = world.ports('admission-1');
  running = [];
  version = 0;
});

afterEach(async () => {
  const drains = running.map((service) => service.drain(1000));
  await world.clock.advance(2000);
  await Promise.all(drains);
});

async function startRouter(id: string, config: unknown = {}): Promise<Running<RouterConfig>> {
  const service = await router.start(routerSchema.parse(config), world.ports(id));
  running.push(service);
  return service;
}

function viewOf(instances: readonly InstanceView[], header: Partial<FleetView> = {}): FleetView {
  version += 1;
  return aView(instances, { version, atMs: world.clock.now(), ...header });
}

async function publish(instances: readonly InstanceView[], header: Partial<FleetView> = {}): Promise<void> {
  tracker.bus.publish(fleetChanged, [], announced(viewOf(instances, header)));
  await world.clock.advance(5);
}

async function routeBatch(requests: readonly RequestInfo[], epoch = 1, ended: readonly string[] = []) {
  const answer = caller.bus.request(route, [], { pool: 'chat', epoch, requests, ended: [...ended] }, { timeoutMs: 1000 });
  const settled = answer.then(
    ({ results }) => results,
    (thrown: { code: string }) => thrown.code,
  );
  await world.clock.advance(20);
  return settled;
}

async function placesOf(requests: readonly RequestInfo[], epoch = 1): Promise<(string | undefined)[]> {
  const results = await routeBatch(requests, epoch);
  if (typeof results === 'string') throw new Error(results);
  return results.map((result) => result.assignment?.instanceId ?? result.refusal?.code);
}

async function recordsOf(requestId: string): Promise<DecisionRecord[]> {
  await world.clock.advance(30);
  const log = world.store.readLog(`decision/${requestId}`);
  await world.clock.advance(5);
  return (await log).map((bytes) => DecisionRecord.decode(bytes));
}

const three = () => ['a', 'b', 'c'].map((id) => anInstance(id));
const requests = (count: number, prefix = 'r') => Array.from({ length: count }, (_, index) => aRequest(`${prefix}${index}`));

describe('a router', () => {
  test('asks the tracker at the start and is not ready before it knows the fleet', async () => {
    const service = await startRouter('router-1');
    expect(service.ready()).toBe('no fleet view yet');
    expect(await placesOf(requests(1))).toEqual(['no_instance']);
    tracker.bus.serve(getFleet, [], () => viewOf(three()));
    await world.clock.advance(3000);
    expect(service.ready()).toBe(true);
  });

  test('believes an engine that says what it has cached, in order and of its own life only', async () => {
    await startRouter('router-1', { profile: { loadSpan: 1000, weights: { queue: 0, prefill: 0, kvHeadroom: 0, prefix: 1, session: 0 } } });
    await publish([anInstance('a'), anInstance('b', { incarnation: 7 })]);
    const report = (instanceId: string, incarnation: number, sequenceNumber: number, hashes: number[]) =>
      caller.bus.publish(prefixesCached, ['chat', instanceId], { instanceId, pool: 'chat', incarnation, sequenceNumber, hashes });
    const ask = (id: string) => placesOf([aRequest(id, { prefixHashes: [1, 2, 3, 4] })]);
    report('b', 7, 2, [4, 3, 2, 1]);
    expect(await ask('x1')).toEqual(['b']);
    report('b', 7, 3, []);
    report('b', 7, 2, [4, 3, 2, 1]);
    report('b', 6, 9, [4, 3, 2, 1]);
    report('a', 1, 1, [2, 1]);
    // One that speaks for another is not heard.
    caller.bus.publish(prefixesCached, ['chat', 'a'], { instanceId: 'b', pool: 'chat', incarnation: 7, sequenceNumber: 9, hashes: [4, 3, 2, 1] });
    expect(await ask('x2')).toEqual(['a']);
  });

  test('spreads a batch and answers with addresses and the next epoch', async () => {
    await startRouter('router-1');
    await publish(three());
    const results = await routeBatch([...requests(2), aRequest('r2', { epoch: 4, generatedTokens: 9 })]);
    if (typeof results === 'string') throw new Error(results);
    expect(new Set(results.map((result) => result.assignment?.instanceId))).toEqual(new Set(['a', 'b', 'c']));
    expect(results.map((result) => result.assignment?.epoch)).toEqual([1, 1, 5]);
    for (const { assignment } of results)
      expect(assignment).toMatchObject({ address: `ws://${assignment!.instanceId}`, routerId: 'router-1', pool: 'chat' });
  });

  test('takes off what its asker has heard the end of before it looks for room', async () => {
    await startRouter('router-1');
    await publish([anInstance('a', { maxRunning: 1, maxWaiting: 0 })]);
    expect(await placesOf(requests(2))).toEqual(['a', 'all_saturated']);
    const results = await routeBatch(requests(1, 'x'), 1, ['r0', 'unknown']);
    expect(results).toMatchObject([{ requestId: 'x0', assignment: { instanceId: 'a' } }]);
  });

  test('keeps the newer view when an older one comes late', async () => {
    await startRouter('router-1');
    await publish([anInstance('a')], { epoch: 2, version: 5 });
    await publish([anInstance('b')], { epoch: 2, version: 4 });
    await publish([anInstance('c')], { epoch: 1, version: 9 });
    expect(await placesOf(requests(1))).toEqual(['a']);
    await publish([anInstance('d')], { epoch: 3, version: 1 });
    expect(await placesOf(requests(1, 'x'))).toEqual(['d']);
  });

  test('refuses an owner whose epoch is older than the newest seen for the pool', async () => {
    await startRouter('router-1');
    await publish(three());
    expect(await routeBatch(requests(1), 5)).toHaveLength(1);
    expect(await routeBatch(requests(1, 'x'), 4)).toBe('stale_epoch');
    caller.bus.publish(queueOwnerChanged, ['chat'], { pool: 'chat', ownerId: 'admission-2', epoch: 9 });
    await world.clock.advance(5);
    expect(await routeBatch(requests(1, 'y'), 8)).toBe('stale_epoch');
    expect(await routeBatch(requests(1, 'z'), 9)).toHaveLength(1);
  });

  test('a question asked again gets the place it had, from a replica too', async () => {
    await startRouter('router-1');
    await startRouter('router-2');
    await publish(three());
    const [first] = await placesOf(requests(1));
    for (let again = 0; again < 4; again++) expect(await placesOf(requests(1))).toEqual([first]);
  });

  test('frees a place when its request is done', async () => {
    await startRouter('router-1', { profile: { allowedWaiting: 0 } });
    await publish([anInstance('a', { maxRunning: 1 })]);
    expect(await placesOf(requests(2))).toEqual(['a', 'all_saturated']);
    const done = caller.bus.record(requestsDone, ['chat'], { ended: [doneOf('r0')] }, { id: 'r0' });
    await world.clock.advance(20);
    await done;
    expect(await placesOf([aRequest('r1')])).toEqual(['a']);
  });

  test('goes on with a stale view, corrected by what it knows, and counts that', async () => {
    await startRouter('router-1', { profile: { allowedWaiting: 0 } });
    await publish([anInstance('a', { maxRunning: 2, running: 1, sequences: [aSequence('old')] })]);
    await world.clock.advance(30_000);
    expect(await placesOf(requests(2))).toEqual(['a', 'all_saturated']);
    const done = caller.bus.record(requestsDone, ['chat'], { ended: [doneOf('old')] }, { id: 'old' });
    await world.clock.advance(20);
    await done;
    expect(await placesOf([aRequest('r1')])).toEqual(['a']);
    expect(world.telemetryOf('router-1').value('switchyard_routing_stale_views_total')).toBe(3);
  });

  test('takes changed weights while running', async () => {
    const service = await startRouter('router-1');
    await publish([anInstance('a', { running: 3 }), anInstance('b')]);
    await placesOf([aRequest('warm', { prefixHashes: [1, 2, 3, 4], avoidInstances: ['b'] })]);
    const ask = (id: string) => placesOf([aRequest(id, { prefixHashes: [1, 2, 3, 4] })]);
    expect(await ask('r1')).toEqual(['b']);
    service.reconfigure!(
      routerSchema.parse({ profile: { name: 'sticky', loadSpan: 1000, weights: { queue: 0, kvHeadroom: 0, prefix: 1, session: 0 } } }),
    );
    await publish([anInstance('a', { running: 3, sequenceNumber: 2 }), anInstance('b', { incarnation: 2 })]);
    expect(await ask('r2')).toEqual(['a']);
    expect((await recordsOf('r2'))[0]).toMatchObject({ profile: 'sticky', instanceId: 'a' });
  });
});

describe('replicas', () => {
  test('share placements, so that together they do not overfill an instance', async () => {
    await startRouter('router-1', { profile: { allowedWaiting: 0 } });
    await startRouter('router-2', { profile: { allowedWaiting: 0 } });
    await publish(['a', 'b'].map((id) => anInstance(id, { maxRunning: 5 })));
    const places: (string | undefined)[] = [];
    for (let index = 0; index < 12; index++) places.push(...(await placesOf([aRequest(`r${index}`)])));
    const routersUsed = new Set(world.telemetry.spans.filter((span) => span.name === 'route').map((span) => span.process));
    expect(routersUsed).toEqual(new Set(['router-1', 'router-2']));
    expect([...places].sort()).toEqual(['a', 'a', 'a', 'a', 'a', 'all_saturated', 'all_saturated', 'b', 'b', 'b', 'b', 'b']);
  });

  test('share how much of a prompt has still to be computed, less what is cached', async () => {
    await startRouter('router-1');
    const heard: Booking[] = [];
    caller.bus.subscribe(booked, [], ({ bookings }) => heard.push(...bookings));
    await publish([anInstance('a')]);
    const prompt = { promptTokens: 500, prefixHashes: [1, 2, 3, 4, 5, 6, 7] };
    await placesOf([aRequest('first', prompt), aRequest('second', prompt)]);
    expect(heard.map(({ computeTokens }) => computeTokens)).toEqual([501, 501 - 7 * 64]);
  });

  test('a lost booking is repaired by the next report', async () => {
    await startRouter('router-1');
    const heard: Booking[] = [];
    caller.bus.subscribe(booked, [], ({ bookings }) => heard.push(...bookings));
    await publish([anInstance('a', { maxRunning: 1, maxWaiting: 0 })]);
    expect(await placesOf(requests(1))).toEqual(['a']);
    expect(heard).toMatchObject([{ requestId: 'r0', instanceId: 'a', epoch: 1, routerId: 'router-1' }]);
    // This router starts after the booking was told.
    await startRouter('router-2');
    await publish([anInstance('a', { maxRunning: 1, maxWaiting: 0, running: 1, sequenceNumber: 2, sequences: [aSequence('r0')] })]);
    for (let index = 1; index < 5; index++) expect(await placesOf([aRequest(`r${index}`)])).toEqual(['all_saturated']);
  });
});

describe('placements and records', () => {
  test('of some milliseconds are told in one message and written in one operation', async () => {
    await startRouter('router-1');
    await publish(three());
    const told: string[][] = [];
    caller.bus.subscribe(booked, [], ({ bookings }) => told.push(bookings.map(({ requestId }) => requestId)));
    const append = vi.spyOn(world.store, 'append');
    const answers = ['r0', 'r1', 'r2'].map((id) =>
      caller.bus.request(route, [], { pool: 'chat', epoch: 1, requests: [aRequest(id)], ended: [] }, { timeoutMs: 1000 }),
    );
    await world.clock.advance(40);
    await Promise.all(answers);
    expect(told).toEqual([['r0', 'r1', 'r2']]);
    expect(append.mock.calls.map(([entries]) => entries.map(({ key }) => key))).toEqual([['decision/r0', 'decision/r1', 'decision/r2']]);
  });

  test('more than a message holds leave at once', async () => {
    await startRouter('router-1');
    await publish(['a', 'b'].map((id) => anInstance(id, { maxRunning: 1000 })));
    const told: number[] = [];
    caller.bus.subscribe(booked, [], ({ bookings }) => told.push(bookings.length));
    await routeBatch(requests(300));
    expect(told).toEqual([256, 44]);
  });

  test('that wait are told and written when the router stops', async () => {
    const service = await startRouter('router-1');
    await publish(three());
    const told: string[] = [];
    caller.bus.subscribe(booked, [], ({ bookings }) => told.push(...bookings.map(({ requestId }) => requestId)));
    const answer = caller.bus.request(route, [], { pool: 'chat', epoch: 1, requests: [aRequest('r0')], ended: [] }, { timeoutMs: 1000 });
    await world.clock.advance(2);
    await answer;
    expect(told).toEqual([]);
    const draining = service.drain(1000);
    await world.clock.advance(5);
    await draining;
    expect(told).toEqual(['r0']);
    expect(await world.store.readLog('decision/r0')).toHaveLength(1);
  });
});

describe('decisions', () => {
  test('are recorded, and the record gives the same bytes again', async () => {
    await startRouter('router-1');
    await publish(three());
    await placesOf([aRequest('r0', { prefixHashes: [1, 2] }), aRequest('r1', { prefixHashes: [1, 2] })]);
    for (const id of ['r0', 'r1']) {
      const [record] = await recordsOf(id);
      expect(record).toMatchObject({ requestId: id, routerId: 'router-1', viewVersion: 1 });
      expect(Buffer.from(DecisionRecord.encode(replayDecision(record!)!))).toEqual(Buffer.from(DecisionRecord.encode(record!)));
    }
  });

  test('do not wait for a store that is away', async () => {
    await startRouter('router-1', { recordBuffer: 1 });
    await publish(three());
    (world.store as { setOutage?(out: boolean): void }).setOutage!(true);
    expect(await placesOf(requests(3))).toHaveLength(3);
    await world.clock.advance(30);
    const telemetry = world.telemetryOf('router-1');
    expect(telemetry.value('switchyard_decision_records_dropped_total', { cause: 'buffer_full' })).toBe(2);
    expect(telemetry.value('switchyard_decision_records_dropped_total', { cause: 'store' })).toBe(1);
    (world.store as { setOutage?(out: boolean): void }).setOutage!(false);
  });

  test('have a span in the trace of their own request, with who was dropped and the best candidates', async () => {
    await startRouter('router-1');
    await publish(three());
    const span = world.telemetryOf('gateway-1').start('request');
    await placesOf([aRequest('r0', { traceparent: span.context.traceparent }), aRequest('r1')]);
    const mine = world.telemetry.spans.filter((each) => each.traceId === span.traceId && each.process === 'router-1');
    expect(mine.map((each) => each.name)).toEqual(['route']);
    const [route] = mine;
    expect(route!.endMs).toBeDefined();
    expect(route!.events.map(({ name }) => name)).toEqual(['filtered', 'picked']);
    expect(route!.events[0]!.attributes).toEqual({ 'switchyard.candidates': 3, 'switchyard.kept': 3, 'switchyard.dropped': '' });
    expect(route!.events[1]!.attributes).toMatchObject({
      'switchyard.instance.id': route!.attributes['switchyard.instance.id'],
      'switchyard.top': expect.stringMatching(/^a=\d\.\d+ b=\d\.\d+ c=/),
    });
  });
});

function doneOf(requestId: string) {
  return {
    requestId,
    pool: 'chat',
    model: 'llama-3.1-8b',
    keyId: '',
    instanceId: 'a',
    epoch: 1,
    outcome: 'completed' as const,
    code: '',
    promptTokens: 10,
    cachedTokens: 0,
    outputTokens: 5,
    arrivalMs: 0,
    firstTokenMs: 1,
    endMs: 2,
    migrations: 0,
    failovers: 0,
    sloClass: 'standard' as const,
    gatewayId: 'gateway-1',
    traceId: '',
  };
}
