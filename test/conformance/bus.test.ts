// What every Bus must do: the twin, and NATS. Real time, because a real server cannot be given another; conditions are
// awaited, and times are short.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { maxBufferedMessages, maxMessageBytes } from '../../lib/bus/limits.ts';
import { systemClock as clock } from '../../lib/clock/system-clock.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Bus, MessageContext } from '../../lib/ports/bus.ts';
import { sleep } from '../../lib/ports/clock.ts';
import type { AuditEvent, LeaveQueue } from '../../proto/gen/messages.ts';
import { type BusNetwork, busNetworks, fresh, joinNetwork, settled } from '../support/bus-networks.ts';
import { eventually } from '../support/eventually.ts';

const seconds = 1000;

describe.each(busNetworks)('bus: %s', (kind, makeNetwork) => {
  let network: BusNetwork;
  beforeAll(async () => {
    network = await makeNetwork();
  });
  afterAll(() => network?.close());

  const join = (identity?: string) => joinNetwork(network, identity);

  /** Subscribes and collects. */
  async function listen(bus: Bus, pool: string, options?: { group?: string }) {
    const got: { message: LeaveQueue; context: MessageContext }[] = [];
    const subscription = bus.subscribe(contracts.leaveQueue, [pool], (message, context) => got.push({ message, context }), options);
    await settled(bus);
    return Object.assign(got, { subscription });
  }

  const leave = (bus: Bus, pool: string, requestId: string, options?: { deadlineMs?: number; id?: string }) =>
    bus.publish(contracts.leaveQueue, [pool], { requestId, pool }, options);

  const seen = (what: string, look: () => unknown, wanted: unknown, withinMs = 5 * seconds) =>
    eventually(what, withinMs, () => {
      const value = look();
      return { ok: JSON.stringify(value) === JSON.stringify(wanted), seen: value };
    });

  const auditEvent = (kindOfEvent: string, target = '') => ({ kind: kindOfEvent, actor: 'test', target, detailJson: '{}', atMs: 1 });

  const codeOf = (promise: Promise<unknown>) =>
    promise.then(
      () => 'no error',
      (thrown) => (thrown instanceof SwitchyardError ? thrown.code : String(thrown)),
    );

  describe('publish and subscribe', () => {
    test('every subscriber gets the message, with its envelope filled in', async () => {
      const [a, b, c] = [await join(), await join(), await join()];
      const pool = fresh('pool');
      const [atB, atC] = [await listen(b.bus, pool), await listen(c.bus, pool)];
      const before = clock.now();
      leave(a.bus, pool, 'r1', { id: 'message-1' });
      leave(a.bus, pool, 'r2');
      await seen('both at b', () => atB.map((each) => each.message.requestId), ['r1', 'r2']);
      await seen('both at c', () => atC.map((each) => each.message.requestId), ['r1', 'r2']);
      const { message, context } = atB[0]!;
      expect(context).toEqual({ subject: `sy.v1.admission.${pool}.leave`, keys: [pool], meta: message.meta });
      expect(context.meta).toMatchObject({ id: 'message-1', sender: a.identity, deadlineMs: 0 });
      expect(context.meta.sentAtMs).toBeGreaterThanOrEqual(before);
      expect(context.meta.sentAtMs).toBeLessThanOrEqual(clock.now());
      expect(atB[1]!.context.meta.id).not.toBe('');
      expect(atB[1]!.context.meta.id).not.toBe('message-1');
    });

    test('messages of one sender arrive in order', async () => {
      const [a, b] = [await join(), await join()];
      const pool = fresh('pool');
      const got = await listen(b.bus, pool);
      const ids = Array.from({ length: 500 }, (_, index) => `r${index}`);
      for (const id of ids) leave(a.bus, pool, id);
      await seen('all', () => got.length, ids.length);
      expect(got.map((each) => each.message.requestId)).toEqual(ids);
    });

    test('a key may be any text, and * takes every key', async () => {
      const [a, b] = [await join(), await join()];
      const got: (readonly string[])[] = [];
      const marker = fresh('marker');
      b.bus.subscribe(contracts.leaveQueue, ['*'], (message, context) => {
        if (message.requestId === marker) got.push(context.keys);
      });
      await settled(b.bus);
      const keys = ['plain', 'dots.and spaces', '50%', 'a>b', 'ü-日本', 'x*y'];
      for (const key of keys) leave(a.bus, key, marker);
      await seen(
        'all keys',
        () => got,
        keys.map((key) => [key]),
      );
    });

    test('one member of a group gets each message, and all members get some', async () => {
      const sender = await join();
      const pool = fresh('pool');
      const members = await Promise.all([join(), join(), join()]);
      const group = await Promise.all(members.map((member) => listen(member.bus, pool, { group: 'workers' })));
      const alone = await listen((await join()).bus, pool);
      const ids = Array.from({ length: 300 }, (_, index) => `r${index}`);
      for (const id of ids) leave(sender.bus, pool, id);
      await seen('all in the group', () => group.flat().length, ids.length);
      await seen('all outside', () => alone.length, ids.length);
      expect(
        group
          .flat()
          .map((each) => each.message.requestId)
          .sort(),
      ).toEqual([...ids].sort());
      for (const member of group) expect(member.length).toBeGreaterThan(0);
    });

    test('an expired message reaches no handler and is counted', async () => {
      const [a, b] = [await join(), await join()];
      const pool = fresh('pool');
      const got = await listen(b.bus, pool);
      leave(a.bus, pool, 'expired', { deadlineMs: clock.now() - 1 });
      leave(a.bus, pool, 'in time', { deadlineMs: clock.now() + 60 * seconds });
      await seen('the one in time', () => got.map((each) => each.message.requestId), ['in time']);
      expect(b.telemetry.value('switchyard_bus_dropped_total', { cause: 'expired' })).toBe(1);
    });

    test('a handler that throws is counted and gets the next message', async () => {
      const [a, b] = [await join(), await join()];
      const pool = fresh('pool');
      const got: string[] = [];
      b.bus.subscribe(contracts.leaveQueue, [pool], (message) => {
        if (message.requestId === 'bad') throw new Error('no');
        got.push(message.requestId);
      });
      b.bus.subscribe(contracts.leaveQueue, [pool], async () => {
        throw new Error('no, later');
      });
      await settled(b.bus);
      leave(a.bus, pool, 'bad');
      leave(a.bus, pool, 'good');
      await seen('the good one', () => got, ['good']);
      await seen('failures', () => b.telemetry.value('switchyard_bus_handler_failures_total'), 3);
    });

    test('the handler runs in the trace of the sender, and in none when there was none', async () => {
      const [a, b] = [await join(), await join()];
      const pool = fresh('pool');
      const active: unknown[] = [];
      b.bus.subscribe(contracts.leaveQueue, [pool], () => active.push(b.telemetry.active()));
      await settled(b.bus);
      const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
      a.telemetry.within({ traceparent }, () => leave(a.bus, pool, 'traced'));
      leave(a.bus, pool, 'untraced');
      await seen('both', () => active.length, 2);
      expect(active).toEqual([{ traceparent }, undefined]);
    });

    test('a stopped subscription takes nothing new and waits for running handlers', async () => {
      const [a, b] = [await join(), await join()];
      const pool = fresh('pool');
      const release = Promise.withResolvers<void>();
      const events: string[] = [];
      const subscription = b.bus.subscribe(contracts.leaveQueue, [pool], async (message) => {
        events.push(`began ${message.requestId}`);
        await release.promise;
        events.push(`ended ${message.requestId}`);
      });
      await settled(b.bus);
      leave(a.bus, pool, 'first');
      await seen('began', () => events, ['began first']);
      const stopped = subscription.stop().then(() => events.push('stopped'));
      leave(a.bus, pool, 'second');
      await settled(a.bus);
      release.resolve();
      await stopped;
      await subscription.stop();
      leave(a.bus, pool, 'third');
      await settled(a.bus);
      await settled(b.bus);
      // "second" was sent while the subscription stopped: it may have been in time.
      expect(events.filter((event) => !event.endsWith('second'))).toEqual(['began first', 'ended first', 'stopped']);
      expect(events.at(-1)).toBe('stopped');
    });

    test('a message that is too large is dropped and counted', async () => {
      const a = await join();
      leave(a.bus, fresh('pool'), 'x'.repeat(maxMessageBytes));
      expect(a.telemetry.value('switchyard_bus_dropped_total', { cause: 'too_large' })).toBe(1);
      expect(
        await codeOf(
          a.bus.request(contracts.cordon, [], { instanceId: 'x'.repeat(maxMessageBytes), cordoned: true, reason: 'none' }, { timeoutMs: 1000 }),
        ),
      ).toBe('internal');
    });
  });

  describe('questions', () => {
    test('an answer carries the id of its question; the question carries its deadline', async () => {
      const [a, b] = [await join(), await join()];
      const pool = fresh('pool');
      let asked: MessageContext | undefined;
      b.bus.serve(contracts.setScalingMode, [pool], async (question, context) => {
        asked = context;
        return { refusal: { code: 'out_of_range', message: question.mode, retryable: false, retryAfterMs: 0 } };
      });
      await settled(b.bus);
      const before = clock.now();
      const question = { pool, mode: 'active' as const, requestedBy: 'me' };
      const answer = await a.bus.request(contracts.setScalingMode, [pool], question, { timeoutMs: 5000, id: 'question-1' });
      expect(answer).toMatchObject({ meta: { id: 'question-1', sender: b.identity }, refusal: { code: 'out_of_range', message: 'active' } });
      expect(asked).toMatchObject({ keys: [pool], meta: { id: 'question-1', sender: a.identity } });
      expect(asked!.meta.deadlineMs).toBeGreaterThanOrEqual(before + 5000);
      expect(asked!.meta.deadlineMs).toBeLessThanOrEqual(clock.now() + 5000);
    });

    test('what the handler throws arrives with code, message, retryable and retry-after', async () => {
      const [a, b] = [await join(), await join()];
      const pool = fresh('pool');
      const message = 'line one\r\nline two: 100 % ü 日本 \ud800';
      b.bus.serve(contracts.setScalingMode, [pool], ({ mode }) => {
        if (mode === 'off') throw new SwitchyardError('not_owner', message, { retryAfterMs: 250 });
        throw new TypeError('a fault');
      });
      await settled(b.bus);
      const ask = (mode: 'off' | 'active') => a.bus.request(contracts.setScalingMode, [pool], { pool, mode, requestedBy: '' }, { timeoutMs: 5000 });
      const refused = await ask('off').catch((thrown) => thrown);
      expect(refused).toBeInstanceOf(SwitchyardError);
      expect(refused).toMatchObject({ code: 'not_owner', message: message.toWellFormed(), retryable: true, retryAfterMs: 250 });
      expect(await ask('active').catch((thrown) => thrown)).toMatchObject({ code: 'internal', message: 'a fault', retryable: false });
      expect(b.telemetry.value('switchyard_bus_handler_failures_total')).toBe(2);
    });

    test('nobody serves: said at once', async () => {
      const a = await join();
      const before = clock.now();
      expect(
        await codeOf(
          a.bus.request(contracts.setScalingMode, [fresh('pool')], { pool: '', mode: 'off', requestedBy: '' }, { timeoutMs: 20 * seconds }),
        ),
      ).toBe('no_responders');
      expect(clock.now() - before).toBeLessThan(10 * seconds);
    });

    test('no answer in time is a timeout, and a late answer is ignored', async () => {
      const [a, b] = [await join(), await join()];
      const pool = fresh('pool');
      const release = Promise.withResolvers<void>();
      b.bus.serve(contracts.setScalingMode, [pool], async () => {
        await release.promise;
        return {};
      });
      await settled(b.bus);
      const ask = (timeoutMs: number) => a.bus.request(contracts.setScalingMode, [pool], { pool, mode: 'off', requestedBy: '' }, { timeoutMs });
      expect(await codeOf(ask(50))).toBe('timeout');
      const second = ask(5000);
      release.resolve();
      expect(await codeOf(second)).toBe('no error');
      expect(a.telemetry.value('switchyard_bus_requests_total', { subject: contracts.setScalingMode.pattern, result: 'timeout' })).toBe(1);
    });

    test('one member of a group serves each question', async () => {
      const asker = await join();
      const pool = fresh('pool');
      const members = await Promise.all([join(), join()]);
      for (const member of members) member.bus.serve(contracts.setScalingMode, [pool], () => ({}), { group: 'owners' });
      await Promise.all(members.map((member) => settled(member.bus)));
      const answers = await Promise.all(
        Array.from({ length: 100 }, () =>
          asker.bus.request(contracts.setScalingMode, [pool], { pool, mode: 'off', requestedBy: '' }, { timeoutMs: 5000 }),
        ),
      );
      const identities = members.map((member) => member.identity);
      // In one process it is the newest: nothing is gained by sharing.
      const serving = kind === 'nats, services in one process' ? identities.slice(-1) : identities;
      expect(new Set(answers.map((answer) => answer.meta?.sender))).toEqual(new Set(serving));
    });

    test('the handler runs in the trace of the asker', async () => {
      const [a, b] = [await join(), await join()];
      const pool = fresh('pool');
      let active: unknown;
      b.bus.serve(contracts.setScalingMode, [pool], async () => {
        await Promise.resolve();
        active = b.telemetry.active();
        return {};
      });
      await settled(b.bus);
      const traceparent = `00-${'c'.repeat(32)}-${'d'.repeat(16)}-01`;
      await a.telemetry.within({ traceparent }, () =>
        a.bus.request(contracts.setScalingMode, [pool], { pool, mode: 'off', requestedBy: '' }, { timeoutMs: 5000 }),
      );
      expect(active).toEqual({ traceparent });
    });
  });

  describe('recorded messages', () => {
    test('first use by many at once', async () => {
      const members = await Promise.all(Array.from({ length: 8 }, () => join()));
      const kindOfEvent = fresh('first');
      await Promise.all(
        members.map(({ bus }, index) => bus.record(contracts.audit, [], auditEvent(kindOfEvent, String(index)), { id: `${kindOfEvent}-${index}` })),
      );
      const events = await members[0]!.bus.recorded(contracts.audit, 1000);
      expect(events.filter((event) => event.kind === kindOfEvent)).toHaveLength(8);
    });

    test('are stored once per id, read newest last within the limit, and reach plain subscribers', async () => {
      const [a, b] = [await join(), await join()];
      const kindOfEvent = fresh('once');
      const live: string[] = [];
      b.bus.subscribe(contracts.audit, [], (event) => {
        if (event.kind === kindOfEvent) live.push(event.target);
      });
      await settled(b.bus);
      for (const target of ['1', '2', '2', '3', '1', '4']) {
        await a.bus.record(contracts.audit, [], auditEvent(kindOfEvent, target), { id: `${kindOfEvent}-${target}` });
      }
      expect((await b.bus.recorded(contracts.audit, 4)).map((event) => [event.target, event.meta?.id])).toEqual(
        ['1', '2', '3', '4'].map((target) => [target, `${kindOfEvent}-${target}`]),
      );
      expect((await b.bus.recorded(contracts.audit, 2)).map((event) => event.target)).toEqual(['3', '4']);
      expect(await b.bus.recorded(contracts.audit, 0)).toEqual([]);
      await seen('live', () => [...new Set(live)], ['1', '2', '3', '4']);
    });

    test('are read from a time on, the first ones within the limit', async () => {
      const { bus } = await join();
      const kindOfEvent = fresh('since');
      const storedBy: number[] = [];
      for (const target of targets(4)) {
        await bus.record(contracts.audit, [], auditEvent(kindOfEvent, target), { id: `${kindOfEvent}-${target}` });
        storedBy.push(clock.now());
        // A server's clock may differ by some milliseconds, and tells whole ones.
        await sleep(clock, 100);
      }
      const since = async (sinceMs: number, limit: number) =>
        (await bus.recorded(contracts.audit, limit, { sinceMs })).filter(({ kind: of }) => of === kindOfEvent).map(({ target }) => target);
      expect(await since(storedBy[1]! + 50, 100)).toEqual(['002', '003']);
      expect(await since(storedBy[0]! + 50, 2)).toEqual(['001', '002']);
      expect(await since(storedBy[3]! + 60_000, 100)).toEqual([]);
      expect(await since(0, 10_000)).toEqual(targets(4));
    });

    /** Consumes and collects the targets of events of one kind. */
    async function consume(bus: Bus, durable: string, kindOfEvent: string, fail: (event: AuditEvent, attempt: number) => boolean = () => false) {
      const attempts = new Map<string, number>();
      const got: string[] = [];
      const subscription = await bus.consume(contracts.audit, durable, async (event) => {
        if (event.kind !== kindOfEvent) return;
        const attempt = (attempts.get(event.target) ?? 0) + 1;
        attempts.set(event.target, attempt);
        if (fail(event, attempt)) throw new Error('not yet');
        got.push(event.target);
      });
      return Object.assign(got, { subscription, attempts });
    }

    const targets = (count: number) => Array.from({ length: count }, (_, index) => String(index).padStart(3, '0'));

    test('are shared by all consumers of one durable name, older ones too, and copied for another name', async () => {
      const sender = await join();
      const [x, y, z] = [await join(), await join(), await join()];
      const kindOfEvent = fresh('shared');
      const wanted = targets(60);
      const record = (target: string) => sender.bus.record(contracts.audit, [], auditEvent(kindOfEvent, target), { id: `${kindOfEvent}-${target}` });
      await Promise.all(wanted.slice(0, 30).map(record));
      const durable = fresh('durable');
      const [atX, atY] = [await consume(x.bus, durable, kindOfEvent), await consume(y.bus, durable, kindOfEvent)];
      const atZ = await consume(z.bus, fresh('durable'), kindOfEvent);
      await Promise.all(wanted.slice(30).map(record));
      await seen('all at x and y together', () => [...atX, ...atY].sort(), wanted);
      await seen('all at z', () => [...atZ].sort(), wanted);
    });

    test('come again after a handler failed, until it succeeds', async () => {
      const [a, b] = [await join(), await join()];
      const kindOfEvent = fresh('again');
      const got = await consume(b.bus, fresh('durable'), kindOfEvent, (event, attempt) => event.target === '001' && attempt < 3);
      for (const target of targets(3)) await a.bus.record(contracts.audit, [], auditEvent(kindOfEvent, target), { id: `${kindOfEvent}-${target}` });
      await seen('all, the failing one last', () => [...got], ['000', '002', '001']);
      expect(got.attempts.get('001')).toBe(3);
      expect(b.telemetry.value('switchyard_bus_redeliveries_total')).toBe(2);
      expect(b.telemetry.value('switchyard_bus_handler_failures_total')).toBe(2);
    });

    test('wait for a consumer that comes back', async () => {
      const [a, b] = [await join(), await join()];
      const kindOfEvent = fresh('resume');
      const durable = fresh('durable');
      const record = (target: string) => a.bus.record(contracts.audit, [], auditEvent(kindOfEvent, target), { id: `${kindOfEvent}-${target}` });
      const first = await consume(b.bus, durable, kindOfEvent);
      await record('1');
      await seen('the first', () => [...first], ['1']);
      await first.subscription.stop();
      await record('2');
      const second = await consume(b.bus, durable, kindOfEvent);
      await record('3');
      await seen('the rest', () => [...second], ['2', '3']);
      expect([...first]).toEqual(['1']);
    });

    test('a consumer that stops lets its handler finish, and the message does not come again', async () => {
      const [a, b, c] = [await join(), await join(), await join()];
      const kindOfEvent = fresh('finish');
      const durable = fresh('durable');
      const release = Promise.withResolvers<void>();
      const events: string[] = [];
      const subscription = await b.bus.consume(contracts.audit, durable, async (event) => {
        if (event.kind !== kindOfEvent) return;
        events.push('began');
        await release.promise;
        events.push('ended');
      });
      await a.bus.record(contracts.audit, [], auditEvent(kindOfEvent, '1'), { id: `${kindOfEvent}-1` });
      await seen('began', () => events, ['began']);
      const stopped = subscription.stop().then(() => events.push('stopped'));
      release.resolve();
      await stopped;
      expect(events).toEqual(['began', 'ended', 'stopped']);
      const later = await consume(c.bus, durable, kindOfEvent);
      await a.bus.record(contracts.audit, [], auditEvent(kindOfEvent, '2'), { id: `${kindOfEvent}-2` });
      await seen('only the second', () => [...later], ['2']);
    });

    test('none is held up by a consumer that stops while they come', async () => {
      const sender = await join();
      const [x, y] = [await join(), await join()];
      const kindOfEvent = fresh('leaving');
      const durable = fresh('durable');
      const wanted = targets(300);
      const [atX, atY] = [await consume(x.bus, durable, kindOfEvent), await consume(y.bus, durable, kindOfEvent)];
      const recorded = (async () => {
        for (const target of wanted)
          await sender.bus.record(contracts.audit, [], auditEvent(kindOfEvent, target), { id: `${kindOfEvent}-${target}` });
      })();
      await seen('x has begun', () => atX.length > 5, true);
      await atX.subscription.stop();
      await recorded;
      await seen('all, each once', () => [...atX, ...atY].sort(), wanted);
      expect(atX.length).toBeLessThan(wanted.length);
    });

    test('come with their own subject, in the trace of the recorder', async () => {
      const [a, b] = [await join(), await join()];
      const kindOfEvent = fresh('traced');
      const traceparent = `00-${'e'.repeat(32)}-${'f'.repeat(16)}-01`;
      const active: unknown[] = [];
      await b.bus.consume(contracts.audit, fresh('durable'), async (event, context) => {
        if (event.kind === kindOfEvent) active.push([context.subject, b.telemetry.active()]);
      });
      await a.telemetry.within({ traceparent }, () => a.bus.record(contracts.audit, [], auditEvent(kindOfEvent), { id: kindOfEvent }));
      await seen('the trace', () => active, [['sy.v1.audit', { traceparent }]]);
    });

    test('a topic that is not recorded is a mistake in the program', async () => {
      const a = await join();
      await expect(a.bus.record(contracts.leaveQueue, ['p'], { requestId: '', pool: '' }, { id: 'x' })).rejects.toThrow('not a recorded topic');
    });
  });

  describe('while the bus is away', () => {
    test('messages and questions wait, expired ones go nowhere, recording goes on, subscriptions come back', async () => {
      const [a, b] = [await join(), await join()];
      const pool = fresh('pool');
      const kindOfEvent = fresh('outage');
      const got = await listen(b.bus, pool);
      b.bus.serve(contracts.setScalingMode, [pool], () => ({}));
      const consumed: string[] = [];
      await b.bus.consume(contracts.audit, fresh('durable'), async (event) => {
        if (event.kind === kindOfEvent) consumed.push(event.target);
      });
      await a.bus.record(contracts.audit, [], auditEvent(kindOfEvent, 'before'), { id: `${kindOfEvent}-before` });
      await seen('consumed', () => consumed, ['before']);

      await network.cut();
      await seen('both know', () => [a.bus.connected(), b.bus.connected()], [false, false]);
      const deadlineMs = clock.now() + 20;
      leave(a.bus, pool, 'expired', { deadlineMs });
      leave(a.bus, pool, 'waited');
      const ask = (timeoutMs: number) => a.bus.request(contracts.setScalingMode, [pool], { pool, mode: 'off', requestedBy: '' }, { timeoutMs });
      expect(await codeOf(ask(30))).toBe('bus_unavailable');
      const recorded = a.bus.record(contracts.audit, [], auditEvent(kindOfEvent, 'during'), { id: `${kindOfEvent}-during`, timeoutMs: 30 * seconds });
      const asked = (async () => {
        // The server of the question may come back later than the asker.
        for (;;) {
          const code = await codeOf(ask(30 * seconds));
          if (code !== 'no_responders') return code;
        }
      })();
      expect(clock.now()).toBeGreaterThan(deadlineMs);
      await network.mend();
      expect(await asked).toBe('no error');
      await recorded;
      // A server that is killed may forget an acknowledgement: at least once.
      await seen('consumed', () => [...new Set(consumed)], ['before', 'during'], 20 * seconds);
      await seen('both connected', () => [a.bus.connected(), b.bus.connected()], [true, true]);
      leave(a.bus, pool, 'after');
      await seen('after', () => got.at(-1)?.message.requestId, 'after');
      // Whether the buffered one found its subscriber depends on who was back first.
      expect(got.map((each) => each.message.requestId)).not.toContain('expired');
      expect((await a.bus.recorded(contracts.audit, 100)).filter((event) => event.kind === kindOfEvent)).toHaveLength(2);
    });

    test('what does not fit into the buffer is dropped and counted', async () => {
      const a = await join();
      await network.cut();
      await seen('disconnected', () => a.bus.connected(), false);
      const pool = fresh('pool');
      for (let n = 0; n < maxBufferedMessages + 7; n++) leave(a.bus, pool, String(n));
      expect(a.telemetry.value('switchyard_bus_dropped_total', { cause: 'buffer_full' })).toBe(7);
      await network.mend();
      await seen('connected', () => a.bus.connected(), true, 20 * seconds);
    });

    test.skipIf(kind !== 'nats')(
      'a question that was overtaken by its deadline on the way is not handled (skipped where there is no broker between to hold it)',
      async () => {
        const [a, b] = [await join(), await join()];
        const pool = fresh('pool');
        const handled: string[] = [];
        b.bus.serve(contracts.setScalingMode, [pool], (question) => {
          handled.push(question.requestedBy);
          return {};
        });
        await settled(b.bus);
        const ask = (requestedBy: string, timeoutMs: number) =>
          a.bus.request(contracts.setScalingMode, [pool], { pool, mode: 'off', requestedBy }, { timeoutMs });
        await network.server!.pause();
        expect(await codeOf(ask('late', 100))).toBe('timeout');
        network.server!.resume();
        await ask('in time', 10 * seconds);
        expect(handled).toEqual(['in time']);
        expect(b.telemetry.value('switchyard_bus_dropped_total', { cause: 'expired' })).toBe(1);
      },
    );

    test.skipIf(kind === 'memory')(
      'streams and consumers are made again when the server has lost its data (skipped for memory: it has no server)',
      async () => {
        const [a, b] = [await join(), await join()];
        const kindOfEvent = fresh('wiped');
        const consumed: string[] = [];
        await b.bus.consume(contracts.audit, fresh('durable'), async (event) => {
          if (event.kind === kindOfEvent) consumed.push(event.target);
        });
        const record = (target: string) =>
          a.bus.record(contracts.audit, [], auditEvent(kindOfEvent, target), { id: `${kindOfEvent}-${target}`, timeoutMs: 20 * seconds });
        await record('before');
        await seen('before', () => consumed, ['before']);
        await network.server!.restart({ wipe: true });
        await record('after');
        await seen('after', () => [...new Set(consumed)], ['before', 'after'], 30 * seconds);
      },
    );
  });

  describe('drain', () => {
    test('lets running handlers answer, then nothing goes in or out', async () => {
      const [a, b] = [await join(), await join()];
      const pool = fresh('pool');
      const began = Promise.withResolvers<void>();
      const release = Promise.withResolvers<void>();
      b.bus.serve(contracts.setScalingMode, [pool], async () => {
        began.resolve();
        await release.promise;
        return {};
      });
      await settled(b.bus);
      const ask = (bus: Bus) => bus.request(contracts.setScalingMode, [pool], { pool, mode: 'off', requestedBy: '' }, { timeoutMs: 5000 });
      const asked = codeOf(ask(a.bus));
      await began.promise;
      leave(b.bus, pool, 'buffered');
      const drained = b.bus.drain();
      release.resolve();
      await drained;
      expect(await asked).toBe('no error');
      expect(b.bus.connected()).toBe(false);
      expect(await codeOf(ask(b.bus))).toBe('bus_unavailable');
      expect(await codeOf(ask(a.bus))).toBe('no_responders');
      expect(await codeOf(b.bus.record(contracts.audit, [], auditEvent('x'), { id: 'x' }))).toBe('bus_unavailable');
      leave(b.bus, pool, 'closed');
      expect(b.telemetry.value('switchyard_bus_dropped_total', { cause: 'closed' })).toBe(1);
      // An orderly end is nothing to look at.
      expect(b.telemetry.logs.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([]);
    });

    test('open questions fail, and draining twice is fine', async () => {
      const [a, b] = [await join(), await join()];
      const pool = fresh('pool');
      const release = Promise.withResolvers<void>();
      b.bus.serve(contracts.setScalingMode, [pool], async () => {
        await release.promise;
        return {};
      });
      await settled(b.bus);
      const asked = codeOf(a.bus.request(contracts.setScalingMode, [pool], { pool, mode: 'off', requestedBy: '' }, { timeoutMs: 60 * seconds }));
      await settled(a.bus);
      await Promise.all([a.bus.drain(), a.bus.drain()]);
      expect(await asked).toBe('bus_unavailable');
      await a.bus.drain();
      release.resolve();
    });
  });
});
