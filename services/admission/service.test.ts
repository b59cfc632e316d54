import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createKey } from '../../lib/auth/keys.ts';
import { leaveQueue, queueOwnerChanged, queueStatus } from '../../lib/contracts.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { killable, lossy } from '../../lib/testing/faulty-ports.ts';
import type { QueueStatus } from '../../proto/gen/messages.ts';
import { admissionSchema } from './config.ts';
import { admission } from './service.ts';
import { TestFleet, TestRouter } from './testing/test-fleet.ts';
import { type Ending, TestGateway } from './testing/test-gateway.ts';

const pools = [{ id: 'chat', models: ['m'], instances: 2, sim: { profile: 'p' }, price: { inputMicros: 1, outputMicros: 2 } }];
const configOf = (settings: object = {}) => admissionSchema.parse({ fleet: { pools }, ...settings });

let fleet: TestFleet;

beforeEach(() => {
  fleet = new TestFleet(['a', 'b'], 1);
});

afterEach(async () => {
  await fleet.stop();
});

async function start(id: string, settings: object = {}, ports: Ports = fleet.world.ports(id)) {
  const starting = admission.start(configOf(settings), ports);
  await fleet.world.clock.advance(1);
  return starting;
}

async function startAndStopLater(id: string, settings: object = {}, ports?: Ports) {
  const service = await start(id, settings, ports);
  fleet.add(service);
  return service;
}

/** One admission, one router, a fleet with two places. */
async function startAll(settings: object = {}) {
  const service = await startAndStopLater('admission-1', settings);
  const router = new TestRouter(fleet.world.ports('router-1'));
  fleet.publish();
  await fleet.world.clock.advance(300);
  return { service, router, gateway: new TestGateway(fleet, 'gateway-1') };
}

async function endingsOf(waiting: readonly Promise<Ending>[], withinMs = 60_000): Promise<Ending[]> {
  let endings: Ending[] | undefined;
  void Promise.all(waiting).then((all) => {
    endings = all;
  });
  await fleet.world.clock.until(() => endings !== undefined, withinMs);
  return endings!;
}

const started = () => fleet.executions.map((execution) => execution.requestId);

describe('the long poll', () => {
  test('answers at once when there is room', async () => {
    const { gateway } = await startAll();
    await endingsOf([gateway.submit('r1')]);
    expect(gateway.replies).toHaveLength(1);
    expect(gateway.replies[0]!.reply).toMatchObject({ outcome: 'assigned', queuePosition: 0, assignment: { requestId: 'r1', epoch: 1 } });
    expect(gateway.replies[0]!.reply.ownerEpoch).toBeGreaterThan(0);
  });

  test('says "queued" with the position after a second, and answers a waiting question when its turn comes', async () => {
    const { gateway } = await startAll();
    const t0 = fleet.world.clock.now();
    const waiting = [1, 2, 3, 4].map((index) => gateway.submit(`r${index}`, { arrivalMs: t0 + index }, 2_500));
    await endingsOf(waiting);
    const queued = gateway.replies.filter(({ reply }) => reply.outcome === 'queued');
    expect(queued.map(({ requestId, reply, atMs }) => [requestId, reply.queuePosition, Math.round((atMs - t0) / 1000)])).toEqual([
      ['r3', 1, 1],
      ['r4', 2, 1],
      ['r3', 1, 2],
      ['r4', 2, 2],
    ]);
    const third = fleet.executions.find(({ requestId }) => requestId === 'r3')!;
    expect(third.atMs - t0).toBeLessThan(2_600);
  });

  test('gives an assigned request the same assignment again', async () => {
    const { gateway } = await startAll();
    void gateway.submit('r1', {}, 5_000);
    await fleet.world.clock.advance(50);
    const other = new TestGateway(fleet, 'gateway-1b');
    void other.submit('r1', {}, 5_000);
    await fleet.world.clock.advance(50);
    expect(other.replies[0]!.reply.assignment).toEqual(gateway.replies[0]!.reply.assignment);
  });

  test('refuses when the queue deadline passes', async () => {
    const { gateway } = await startAll();
    const long = ['r1', 'r2'].map((id) => gateway.submit(id, {}, 20_000));
    await fleet.world.clock.advance(20);
    const late = gateway.submit('late', { queueDeadlineMs: fleet.world.clock.now() + 3_000 });
    expect(await endingsOf([late])).toMatchObject([{ outcome: 'refused', code: 'queue_timeout' }]);
    const reply = gateway.replies.findLast(({ requestId }) => requestId === 'late')!;
    expect(reply.atMs - fleet.world.clock.now()).toBeLessThan(200);
    expect(fleet.world.telemetryOf('admission-1').value('switchyard_drops_total', { pool: 'chat', reason: 'queue_timeout' })).toBe(1);
    await endingsOf(long);
  });
});

describe('order', () => {
  test('classes, then priorities, then arrival', async () => {
    const { gateway } = await startAll();
    const t0 = fleet.world.clock.now();
    const first = ['x', 'y'].map((id) => gateway.submit(id, {}, 1_000));
    await fleet.world.clock.advance(20);
    const rest = [
      gateway.submit('batch', { sloClass: 'batch', arrivalMs: t0 }),
      gateway.submit('second', { arrivalMs: t0 + 2 }),
      gateway.submit('first', { arrivalMs: t0 + 1 }),
      gateway.submit('urgent', { priority: 5, arrivalMs: t0 + 3 }),
      gateway.submit('interactive', { sloClass: 'interactive', arrivalMs: t0 + 4 }),
    ];
    await endingsOf([...first, ...rest]);
    expect(started().slice(2)).toEqual(['interactive', 'urgent', 'first', 'second', 'batch']);
  });

  test('nothing is ever placed over capacity, and everything is served', async () => {
    const { gateway } = await startAll();
    const waiting = Array.from({ length: 30 }, (_, index) => gateway.submit(`r${index}`, {}, 300 + index));
    const endings = await endingsOf(waiting);
    expect(endings.every(({ outcome }) => outcome === 'done')).toBe(true);
    expect(fleet.peak).toBe(1);
    expect(new Set(started()).size).toBe(30);
  });

  test('a failed request passes the queue and its limits', async () => {
    const { gateway } = await startAll();
    const running = ['r1', 'r2'].map((id) => gateway.submit(id, { keyId: 'unknown' }, 6_000));
    await fleet.world.clock.advance(100);
    const queued = gateway.submit('waiting');
    await fleet.world.clock.advance(500);
    const victim = fleet.executions.find(({ instanceId }) => instanceId === 'a')!.requestId;
    gateway.failOver(fleet.killInstance('a'), 'a');
    await endingsOf([...running, queued]);
    const again = fleet.executions.filter(({ requestId }) => requestId === victim);
    expect(again.map(({ epoch, instanceId }) => [epoch, instanceId])).toEqual([
      [1, 'a'],
      [2, 'b'],
    ]);
    expect(started().indexOf('waiting')).toBe(3);
  });

  test('a full queue sheds its worst and says when to come back', async () => {
    const { gateway } = await startAll({ maxQueued: 3 });
    const running = ['x', 'y'].map((id) => gateway.submit(id, {}, 4_000));
    await fleet.world.clock.advance(20);
    const submit = (id: string, partial: object) => gateway.submit(id, partial, 100);
    const waiting = [
      submit('batch-low', { sloClass: 'batch', priority: -1 }),
      submit('batch', { sloClass: 'batch' }),
      submit('standard', {}),
      submit('interactive', { sloClass: 'interactive' }),
      submit('standard-2', {}),
      submit('batch-late', { sloClass: 'batch' }),
    ];
    await endingsOf([...running, ...waiting]);
    const code = (id: string) => {
      const ending = gateway.endings.get(id)!;
      return ending.outcome === 'refused' ? ending.code : ending.outcome;
    };
    expect(['batch-low', 'batch', 'batch-late', 'standard', 'standard-2', 'interactive'].map(code)).toEqual([
      'shed',
      'shed',
      'queue_full',
      'done',
      'done',
      'done',
    ]);
    for (const ending of gateway.endings.values()) if (ending.outcome === 'refused') expect(ending.retryAfterMs).toBeGreaterThanOrEqual(100);
  });
});

describe('overload', () => {
  /** Nearly twice of what two places serve: one request each 50 ms, for 15 seconds. */
  async function overloaded(settings: object) {
    const { gateway } = await startAll(settings);
    const kinds = [
      { name: 'interactive', request: { sloClass: 'interactive' as const } },
      { name: 'high', request: { sloClass: 'standard' as const, priority: 5 } },
      { name: 'standard', request: { sloClass: 'standard' as const } },
      { name: 'batch', request: { sloClass: 'batch' as const } },
    ];
    const waiting: Promise<Ending>[] = [];
    for (let index = 0; index < 300; index++) {
      const { name, request } = kinds[index % kinds.length]!;
      waiting.push(gateway.submit(`${name}-${index}`, request, 180));
      await fleet.world.clock.advance(50);
    }
    await endingsOf(waiting);
    const endings = [...gateway.endings];
    const served = (name: string) => {
      const mine = endings.filter(([id]) => id.startsWith(name));
      return mine.filter(([, ending]) => ending.outcome === 'done').length / mine.length;
    };
    return { served, refusals: endings.flatMap(([, ending]) => (ending.outcome === 'refused' ? [ending] : [])) };
  }

  test('sheds the lowest class first, then the lowest priority, each with a reason and a time to come back', async () => {
    const { served, refusals } = await overloaded({ maxQueued: 8, agingMs: 60_000 });
    expect(served('interactive')).toBe(1);
    expect(served('high')).toBeGreaterThan(0.9);
    expect(served('standard')).toBeLessThan(served('high'));
    expect(served('batch')).toBeLessThan(0.05);
    expect(refusals.length).toBeGreaterThan(100);
    for (const { code, retryAfterMs } of refusals) {
      expect(['shed', 'queue_full', 'queue_timeout']).toContain(code);
      expect(retryAfterMs).toBeGreaterThanOrEqual(100);
      expect(retryAfterMs).toBeLessThanOrEqual(60_000);
    }
  });
});

test('a changed queue limit is taken while running', async () => {
  const { service, gateway } = await startAll();
  const running = ['x', 'y'].map((id) => gateway.submit(id, {}, 2_000));
  await fleet.world.clock.advance(20);
  service.reconfigure!(configOf({ maxQueued: 1 }));
  const waiting = ['r1', 'r2'].map((id) => gateway.submit(id));
  const endings = await endingsOf([...running, ...waiting]);
  expect(endings.map(({ outcome }) => outcome)).toEqual(['done', 'done', 'done', 'refused']);
});

describe('a pool whose engines all turn requests away', () => {
  const fail = (...codes: readonly string[]) => {
    for (const [index, code] of codes.entries()) fleet.setAside.set(['a', 'b'][index]!, code);
    fleet.publish();
  };

  test.each([
    [['engine_overloaded', 'engine_overloaded'], 'engine_overloaded'],
    [['engine_overloaded', 'engine_unavailable'], 'engine_unavailable'],
  ])('with %s: whoever waits is told %s and when to come back, after a second; who comes then, at once', async (codes, code) => {
    const { gateway } = await startAll();
    fail(...codes);
    await fleet.world.clock.advance(100);
    const t0 = fleet.world.clock.now();
    expect(await endingsOf([gateway.submit('r1')])).toEqual([{ outcome: 'refused', code, retryAfterMs: 1_000 }]);
    expect(fleet.world.clock.now() - t0).toBeGreaterThan(800);
    const t1 = fleet.world.clock.now();
    expect(await endingsOf([gateway.submit('r2')])).toEqual([{ outcome: 'refused', code, retryAfterMs: 1_000 }]);
    expect(fleet.world.clock.now() - t1).toBeLessThan(250);
    expect(started()).toEqual([]);
  });

  test('for less than a second: nobody notices but by waiting', async () => {
    const { gateway } = await startAll();
    fail('engine_error', 'engine_error');
    await fleet.world.clock.advance(100);
    const waiting = [gateway.submit('r1'), gateway.submit('r2')];
    await fleet.world.clock.advance(600);
    fail('', 'engine_error');
    expect(await endingsOf(waiting)).toEqual([{ outcome: 'done' }, { outcome: 'done' }]);
  });

  test('lets those wait that have given tokens', async () => {
    const { gateway } = await startAll();
    fail('engine_error', 'engine_error');
    const waiting = gateway.submit('r1', { epoch: 1, generatedTokens: 5 });
    await fleet.world.clock.advance(5_000);
    expect(gateway.endings.size).toBe(0);
    fail('', '');
    expect(await endingsOf([waiting])).toEqual([{ outcome: 'done' }]);
  });
});

describe('a client that leaves', () => {
  test('is out of the queue at once', async () => {
    const { gateway } = await startAll();
    const running = ['x', 'y'].map((id) => gateway.submit(id, {}, 2_000));
    await fleet.world.clock.advance(20);
    const leaver = gateway.submit('leaver');
    const next = gateway.submit('next');
    await fleet.world.clock.advance(100);
    gateway.leave('leaver');
    await fleet.world.clock.advance(300);
    expect(fleet.world.telemetryOf('admission-1').value('switchyard_queue_depth')).toBe(1);
    await endingsOf([...running, leaver, next]);
    expect(started()).toEqual(['x', 'y', 'next']);
  });

  test('stays out although its question comes after its leave', async () => {
    const { gateway } = await startAll();
    fleet.world.ports('gateway-1').bus.publish(leaveQueue, ['chat'], { requestId: 'gone', pool: 'chat' });
    await fleet.world.clock.advance(20);
    expect(await endingsOf([gateway.submit('gone')])).toMatchObject([{ outcome: 'refused', code: 'client_left' }]);
    expect(started()).toEqual([]);
  });

  test('is dropped when its gateway is gone and nobody asks any more', async () => {
    await startAll();
    const process = killable(fleet.world.ports('gateway-2'));
    const gateway = new TestGateway(fleet, 'gateway-2', process.ports);
    for (const id of ['x', 'y', 'orphan']) void gateway.submit(id, {}, 100_000);
    await fleet.world.clock.advance(500);
    process.kill('crash');
    await fleet.world.clock.advance(7_000);
    expect(fleet.world.telemetryOf('admission-1').value('switchyard_queue_depth')).toBe(0);
  });
});

describe('limits', () => {
  async function keyWith(limits: object): Promise<string> {
    const { store, clock, rng } = fleet.world.ports('console-1');
    const made = createKey({ store, clock, rng }, { name: 'test', limits });
    await fleet.world.clock.advance(1);
    return (await made).key.id;
  }

  async function ledgerOf(keyId: string) {
    const reading = fleet.world.store.ledger(keyId, { requestsPerMinute: 0, tokensPerMinute: 0, budgetMicros: 0 });
    await fleet.world.clock.advance(1);
    return reading;
  }

  test('requests per minute are exact with two replicas and two pools', async () => {
    const twoPools = [...pools, { ...pools[0]!, id: 'large', models: ['n'] }];
    await startAndStopLater('admission-1', { fleet: { pools: twoPools } });
    await startAndStopLater('admission-2', { fleet: { pools: twoPools } });
    new TestRouter(fleet.world.ports('router-1'));
    fleet.publish();
    await fleet.world.clock.advance(300);
    const keyId = await keyWith({ requestsPerMinute: 7 });
    const gateways = ['gateway-1', 'gateway-2'].map((id) => new TestGateway(fleet, id));
    const endings = await endingsOf(Array.from({ length: 20 }, (_, index) => gateways[index % 2]!.submit(`r${index}`, { keyId }, 50)));
    expect(endings.filter(({ outcome }) => outcome === 'done')).toHaveLength(7);
    for (const ending of endings) {
      if (ending.outcome === 'refused') expect(ending).toMatchObject({ code: 'rate_limit_exceeded' });
      if (ending.outcome === 'refused') expect(ending.retryAfterMs).toBeGreaterThan(1_000);
    }
  });

  test('a budget is settled by what was used, whoever settles it, once', async () => {
    await startAll();
    await startAndStopLater('admission-2');
    const gateway = new TestGateway(fleet, 'gateway-1');
    // A request may cost 400 prompt and 100 output tokens: 600 micro-dollars; it uses 100 and 10: 120.
    const keyId = await keyWith({ budgetMicros: 1_300 });
    const endings = await endingsOf(['r1', 'r2', 'r3'].map((id) => gateway.submit(id, { keyId }, 50)));
    expect(endings.map((ending) => (ending.outcome === 'refused' ? ending.code : ending.outcome)).sort()).toEqual([
      'done',
      'done',
      'insufficient_quota',
    ]);
    await fleet.world.clock.advance(5_000);
    expect(await ledgerOf(keyId)).toMatchObject({ spentMicros: 240, reservedMicros: 0 });
    expect(await endingsOf([gateway.submit('r4', { keyId }, 50)])).toMatchObject([{ outcome: 'done' }]);
    await fleet.world.clock.advance(5_000);
    expect(await ledgerOf(keyId)).toMatchObject({ spentMicros: 360, reservedMicros: 0 });
  });

  test('who leaves the queue gets the reservation back', async () => {
    const { gateway } = await startAll();
    const keyId = await keyWith({ tokensPerMinute: 450 });
    const running = ['x', 'y'].map((id) => gateway.submit(id, {}, 3_000));
    await fleet.world.clock.advance(20);
    const leaver = gateway.submit('leaver', { keyId });
    await fleet.world.clock.advance(100);
    expect(await ledgerOf(keyId)).toMatchObject({ reservedMicros: 600 });
    gateway.leave('leaver');
    await endingsOf([...running, leaver]);
    expect(await ledgerOf(keyId)).toMatchObject({ reservedMicros: 0, spentMicros: 0 });
  });

  test('a request that was placed the moment its client left is paid: it was served after all', async () => {
    const { gateway } = await startAll();
    const keyId = await keyWith({ budgetMicros: 600 });
    const served = gateway.submit('r1', { keyId }, 200);
    await fleet.world.clock.advance(100);
    expect(started()).toEqual(['r1']);
    fleet.world.ports('gateway-1').bus.publish(leaveQueue, ['chat'], { requestId: 'r1', pool: 'chat' });
    await fleet.world.clock.advance(50);
    expect(await ledgerOf(keyId)).toMatchObject({ reservedMicros: 0, spentMicros: 0 });
    expect(await endingsOf([served])).toMatchObject([{ outcome: 'done' }]);
    await fleet.world.clock.advance(1_000);
    expect(await ledgerOf(keyId)).toMatchObject({ reservedMicros: 0, spentMicros: 120 });
  });

  test('a replica that dies between reserving and settling leaves nothing reserved: another settles, once', async () => {
    const dying = killable(fleet.world.ports('admission-1'));
    await start('admission-1', {}, dying.ports);
    await startAndStopLater('admission-2');
    new TestRouter(fleet.world.ports('router-1'));
    fleet.publish();
    await fleet.world.clock.advance(300);
    const gateway = new TestGateway(fleet, 'gateway-1');
    const keyId = await keyWith({ budgetMicros: 1_000, requestsPerMinute: 2 });
    const running = ['x', 'y'].map((id) => gateway.submit(id, {}, 3_000));
    await fleet.world.clock.advance(20);
    const queued = gateway.submit('r1', { keyId }, 50);
    await fleet.world.clock.advance(100);
    expect(await ledgerOf(keyId)).toMatchObject({ reservedMicros: 600, spentMicros: 0 });
    dying.kill('crash');
    expect(await endingsOf([...running, queued])).toMatchObject([{ outcome: 'done' }, { outcome: 'done' }, { outcome: 'done' }]);
    await fleet.world.clock.advance(5_000);
    expect(await ledgerOf(keyId)).toMatchObject({ reservedMicros: 0, spentMicros: 120 });
    expect(await endingsOf([gateway.submit('r2', { keyId }, 50)])).toMatchObject([{ outcome: 'done' }]);
  });

  test('a reservation runs out when neither its gateway nor the replica that made it is left', async () => {
    await startAndStopLater('admission-2', { reservationTtlMs: 20_000 });
    new TestRouter(fleet.world.ports('router-1'));
    fleet.publish();
    await fleet.world.clock.advance(300);
    const gateway = killable(fleet.world.ports('gateway-2'));
    const keyId = await keyWith({ budgetMicros: 600 });
    void new TestGateway(fleet, 'gateway-2', gateway.ports).submit('orphan', { keyId }, 100_000);
    await fleet.world.clock.advance(100);
    expect(await ledgerOf(keyId)).toMatchObject({ reservedMicros: 600 });
    gateway.kill('crash');
    const other = new TestGateway(fleet, 'gateway-1');
    expect(await endingsOf([other.submit('early', { keyId }, 50)])).toMatchObject([{ outcome: 'refused', code: 'insufficient_quota' }]);
    await fleet.world.clock.advance(20_000);
    expect(await ledgerOf(keyId)).toMatchObject({ reservedMicros: 0, spentMicros: 0 });
    expect(await endingsOf([other.submit('late', { keyId }, 50)])).toMatchObject([{ outcome: 'done' }]);
  });

  test('a continuation reserves nothing', async () => {
    const { gateway } = await startAll();
    const keyId = await keyWith({ requestsPerMinute: 1 });
    await endingsOf([gateway.submit('r1', { keyId }, 50)]);
    const endings = await endingsOf([gateway.submit('r2', { keyId }, 50), gateway.submit('r3', { keyId, epoch: 2, generatedTokens: 10 }, 50)]);
    expect(endings).toMatchObject([{ outcome: 'refused', code: 'rate_limit_exceeded' }, { outcome: 'done' }]);
  });

  test('answers tell the state of the limits', async () => {
    const { gateway } = await startAll();
    const keyId = await keyWith({ requestsPerMinute: 10, tokensPerMinute: 1_000 });
    await endingsOf([gateway.submit('r1', { keyId }, 50)]);
    expect(gateway.replies[0]!.reply.limits).toMatchObject({ limitRequests: 10, remainingRequests: 9, limitTokens: 1_000, remainingTokens: 800 });
  });
});

describe('ownership', () => {
  test('one replica serves the pool, and after a drain the other at once', async () => {
    const first = await startAndStopLater('admission-1');
    const second = await startAndStopLater('admission-2');
    expect([...first.owns(), ...second.owns()]).toHaveLength(1);
    const owner = first.owns().length > 0 ? first : second;
    const other = owner === first ? second : first;
    const draining = owner.drain(1_000);
    await fleet.world.clock.advance(1_000);
    await draining;
    expect(other.owns()).toHaveLength(1);
  });

  test('when the owner is killed, queued requests re-enter in order under a higher epoch and none runs twice', async () => {
    const first = killable(fleet.world.ports('admission-1'));
    await start('admission-1', {}, first.ports);
    await startAndStopLater('admission-2');
    const router = new TestRouter(fleet.world.ports('router-1'));
    fleet.publish();
    await fleet.world.clock.advance(300);
    const gateway = new TestGateway(fleet, 'gateway-1');
    const t0 = fleet.world.clock.now();
    const names = Array.from({ length: 12 }, (_, index) => `r${String(index).padStart(2, '0')}`);
    const waiting = names.map((id, index) => gateway.submit(id, { arrivalMs: t0 + index, queueDeadlineMs: t0 + 60_000 }, 2_000));
    await fleet.world.clock.advance(2_500);
    const before = started().length;
    expect(before).toBeGreaterThan(1);
    first.kill('crash');
    await endingsOf(waiting);
    expect(started()).toEqual(names);
    const epochs = [...new Set(router.batches.map(({ epoch }) => epoch))];
    expect(epochs).toHaveLength(2);
    expect(epochs[1]).toBeGreaterThan(epochs[0]!);
    expect(fleet.peak).toBe(1);
  });

  test('an owner that hung and comes back is fenced out', async () => {
    const first = killable(fleet.world.ports('admission-1'));
    await startAndStopLater('admission-1', {}, first.ports);
    await startAndStopLater('admission-2');
    new TestRouter(fleet.world.ports('router-1'));
    fleet.publish();
    await fleet.world.clock.advance(300);
    const gateway = new TestGateway(fleet, 'gateway-1');
    const waiting = Array.from({ length: 10 }, (_, index) =>
      gateway.submit(`r${index}`, { queueDeadlineMs: fleet.world.clock.now() + 90_000 }, 2_000),
    );
    await fleet.world.clock.advance(1_000);
    first.kill('hang');
    await fleet.world.clock.advance(6_000);
    first.resume();
    const endings = await endingsOf(waiting, 90_000);
    expect(endings.every(({ outcome }) => outcome === 'done')).toBe(true);
    expect(started().length).toBe(10);
    expect(fleet.peak).toBe(1);
  });

  test('an owner that hears of a later one stops at once', async () => {
    const { service, gateway } = await startAll();
    const [lease] = service.owns();
    const epoch = Number(lease!.split('@')[1]);
    fleet.world.ports('admission-9').bus.publish(queueOwnerChanged, ['chat'], { pool: 'chat', ownerId: 'admission-9', epoch: epoch + 1 });
    await fleet.world.clock.advance(10);
    void gateway.submit('r1');
    await fleet.world.clock.advance(50);
    expect(gateway.replies).toEqual([]);
  });

  test('a router that is gone for a while costs only time', async () => {
    const service = await startAndStopLater('admission-1');
    fleet.publish();
    await fleet.world.clock.advance(300);
    const gateway = new TestGateway(fleet, 'gateway-1');
    const waiting = ['r1', 'r2'].map((id) => gateway.submit(id));
    await fleet.world.clock.advance(3_000);
    expect(started()).toEqual([]);
    new TestRouter(fleet.world.ports('router-1'));
    fleet.publish();
    expect(await endingsOf(waiting)).toEqual([{ outcome: 'done' }, { outcome: 'done' }]);
    expect(service.ready()).toBe(true);
  });
});

describe('lost and repeated messages', () => {
  test.each([1, 2, 3, 4, 5, 6])('cost time, never a second execution or a request (seed %i)', async (seed) => {
    await startAndStopLater('admission-1', {}, lossy(fleet.world.ports('admission-1'), 0.15, seed));
    await startAndStopLater('admission-2', {}, lossy(fleet.world.ports('admission-2'), 0.15, seed + 100));
    for (const id of ['router-1', 'router-2']) new TestRouter(lossy(fleet.world.ports(id), 0.15, seed + 200));
    fleet.publish();
    await fleet.world.clock.advance(300);
    const gateway = new TestGateway(fleet, 'gateway-1', lossy(fleet.world.ports('gateway-1'), 0.15, seed + 300));
    const waiting = Array.from({ length: 20 }, (_, index) =>
      gateway.submit(`r${index}`, { queueDeadlineMs: fleet.world.clock.now() + 200_000 }, 500),
    );
    const endings = await endingsOf(waiting, 200_000);
    expect(endings).toEqual(endings.map(() => ({ outcome: 'done' })));
    expect(started().toSorted()).toEqual([...new Set(started())].toSorted());
    expect(started()).toHaveLength(20);
  });
});

test('every wait has one admit span in the trace of its request', async () => {
  const { gateway } = await startAll();
  await endingsOf(['r1', 'r2', 'r3'].map((id) => gateway.submit(id, {}, 2_500)));
  const spans = fleet.world.telemetry.spans.filter(({ name }) => name === 'admit');
  expect(spans.map((span) => span.attributes['switchyard.request.id']).toSorted()).toEqual(['r1', 'r2', 'r3']);
  expect(spans.every((span) => span.endMs !== undefined && span.attributes['switchyard.outcome'] === 'assigned')).toBe(true);
  expect(Math.max(...spans.map((span) => Number(span.attributes['switchyard.queue.wait_ms'])))).toBeGreaterThan(2_000);
});

describe('what waits', () => {
  const listen = () => {
    const heard: QueueStatus[] = [];
    fleet.world.ports('autoscaler-1').bus.subscribe(queueStatus, ['chat'], (status) => heard.push(status));
    return heard;
  };
  const waiting = (status: QueueStatus | undefined) => status?.classes.map(({ requests }) => requests);

  test('is told within the status interval, per class and in blocks, and again when it is gone', async () => {
    const { gateway } = await startAll();
    const heard = listen();
    for (let index = 0; index < 4; index++) void gateway.submit(`r${index}`, { sloClass: 'batch', promptTokens: 159 }, 5_000);
    await fleet.world.clock.advance(300);
    expect(heard).toHaveLength(1);
    expect(heard[0]).toMatchObject({ pool: 'chat', ownerId: 'admission-1', epoch: 1, limit: 2_000, blockTokens: 16 });
    expect(heard[0]!.classes[2]).toMatchObject({ sloClass: 'batch', requests: 2, demandBlocks: 20 });
    expect(fleet.world.telemetryOf('admission-1').value('switchyard_queue_demand_blocks', { pool: 'chat', slo_class: 'batch' })).toBe(20);
    await fleet.world.clock.advance(6_000);
    expect(waiting(heard.at(-1))).toEqual([0, 0, 0]);
  });

  test('is told as often as a heartbeat when nothing happens, and a busy queue tells no more than its rate', async () => {
    const { gateway } = await startAll();
    const heard = listen();
    await fleet.world.clock.advance(10_000);
    expect(heard).toHaveLength(10);
    heard.length = 0;
    for (let index = 0; index < 200; index++) {
      void gateway.submit(`r${index}`, { queueDeadlineMs: fleet.world.clock.now() + 500 }, 40);
      await fleet.world.clock.advance(10);
    }
    expect(heard.length).toBeGreaterThan(2);
    expect(heard.length).toBeLessThanOrEqual(9);
    expect(heard.map(({ version }) => version)).toEqual(heard.map((_, index) => heard[0]!.version + index));
  });

  test('is told by the new owner after a take-over, and shown by one process only', async () => {
    const { gateway, service } = await startAll();
    await startAndStopLater('admission-2');
    for (let index = 0; index < 5; index++) void gateway.submit(`r${index}`, {}, 60_000);
    await fleet.world.clock.advance(300);
    const heard = listen();
    const drain = service.drain(1_000);
    await fleet.world.clock.advance(5_000);
    await drain;
    expect(heard.at(-1)).toMatchObject({ ownerId: 'admission-2', epoch: 2 });
    expect(waiting(heard.at(-1))).toEqual([0, 3, 0]);
    const depth = (id: string) => fleet.world.telemetryOf(id).value('switchyard_queue_depth', { pool: 'chat', slo_class: 'standard' });
    expect([depth('admission-1'), depth('admission-2')]).toEqual([0, 3]);
  });
});
