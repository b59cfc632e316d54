// A migration between two agents, driven by hand: in memory on virtual time, and over real TCP and WebSockets.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { systemClock } from '../../lib/clock/system-clock.ts';
import { createNodeNet } from '../../lib/net/node-net.ts';
import type { Connection, Net } from '../../lib/ports/net.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { seededRng } from '../../lib/rng/seeded-rng.ts';
import { createMemoryWorld } from '../../lib/run/memory-ports.ts';
import type { Running } from '../../lib/run/service.ts';
import { type InstanceStatus, KvFrame } from '../../proto/gen/messages.ts';
import { chatBody, migration, startAgent, TestGateway, watchStatus } from './agent-fixtures.ts';
import type { AgentConfig } from './config.ts';

interface World {
  /** Ports of a process; `net` can be bent by a test. */
  ports(id: string): Ports;
  until(condition: () => boolean, what: string): Promise<void>;
  /** Carries out while time goes on. */
  during<T>(work: Promise<T>): Promise<T>;
}

function virtualWorld(): World {
  const world = createMemoryWorld();
  return {
    ports: world.ports,
    until: (condition) => world.clock.until(condition, 60_000),
    async during(work) {
      let done = false;
      const settled = work.finally(() => {
        done = true;
      });
      settled.catch(() => {});
      await world.clock.until(() => done, 60_000);
      return settled;
    },
  };
}

function realWorld(): World {
  const world = createMemoryWorld({ clock: systemClock });
  const net = createNodeNet(systemClock);
  return {
    ports: (id) => ({ ...world.ports(id), net }),
    until: (condition, what) => vi.waitFor(() => expect(condition(), what).toBe(true), { timeout: 10_000, interval: 2 }),
    during: (work) => work,
  };
}

/** Sockets carry the same frames: what depends on time and order alone is tested in memory only. */
const onlyInMemory = (name: string) => test.runIf(name === 'in memory');

const body = chatBody('Carry me over the bridge while I count the stones of the river, please.', 150);

describe.each([
  ['in memory', virtualWorld],
  ['over real sockets', realWorld],
])('a migration %s', (name, createWorld) => {
  let world: World;
  let agents: Running<AgentConfig>[];
  let status: Map<string, InstanceStatus>;
  let source: TestGateway;
  let target: TestGateway;
  let worker: Ports;
  /** What a test does to frames that agent a sends to KV connections. */
  let bend: (frame: KvFrame, connection: Connection, index: number) => Uint8Array | undefined;

  beforeEach(async () => {
    world = createWorld();
    worker = world.ports('worker-1');
    status = watchStatus(worker);
    bend = (frame) => KvFrame.encode(frame);
    const bent: Net = {
      listen: (...args) => world.ports('agent-a').net.listen(...args),
      async connect(address, options) {
        const connection = await world.ports('agent-a').net.connect(address, options);
        const index = connections++;
        return new Proxy(connection, {
          get(inner, name) {
            if (name !== 'send') {
              const value = inner[name as keyof Connection];
              return typeof value === 'function' ? value.bind(inner) : value;
            }
            return (head: Uint8Array, tail: Uint8Array = new Uint8Array(0)) => {
              const changed = bend(KvFrame.decode(Buffer.concat([head, tail])), inner, index);
              if (changed) inner.send(changed);
            };
          },
        });
      },
    };
    let connections = 0;
    agents = [await startAgent({ ...world.ports('agent-a'), net: bent }, 'a', {}, {}), await startAgent(world.ports('agent-b'), 'b', {}, {})];
    await world.until(() => status.size === 2, 'both report');
    source = await TestGateway.connect(worker.net, status.get('a')!.address);
    target = await TestGateway.connect(worker.net, status.get('b')!.address, source);
  });

  afterEach(async () => {
    await world.during(Promise.all(agents.map((one) => one.drain(0))));
  });

  async function running(tokens = 20) {
    const request = source.open('a', 'req-1', { body });
    await world.until(() => request.ids.length >= tokens, 'tokens come');
    return { request, moves: migration(worker, { id: 'mig-1', requestId: 'req-1', source: 'a', target: 'b' }) };
  }

  async function expectNoLeak() {
    await world.until(
      () => ['a', 'b'].every((id) => status.get(id)!.sequences.length === 0 && status.get(id)!.freeBlocks === 64),
      'every block is free',
    );
  }

  test('two pre-copies, last stage, take-over, release: token-exact, no block left behind', async () => {
    const { request, moves } = await running();
    expect((await world.during(moves.reserve(20))).refusal).toBeNull();
    const first = await world.during(moves.copy(0));
    expect(first).toMatchObject({ refusal: null });
    expect(first.blocksSent).toBeGreaterThan(5);
    await world.until(() => request.ids.length >= 40, 'the source decodes on');
    const second = await world.during(moves.copy(1));
    expect(second.blocksSent).toBeGreaterThan(2);
    expect(second.blocksSent).toBeLessThan(first.blocksSent);
    const last = await world.during(moves.copy(2, { last: true }));
    expect(last).toMatchObject({ refusal: null, blocksRemaining: 0 });
    expect(last.nextIndex).toBeGreaterThanOrEqual(40);

    target.open('b', 'req-1', { epoch: 2, reservationId: 'mig-1', nextIndex: request.ids.length });
    source.cancel('req-1', 1, 'moved');
    await world.during(moves.release(true));
    await world.until(() => request.finish !== undefined, 'the answer ends');
    // A worker that takes over begins anew: nothing is held again for what is here already.
    expect((await world.during(moves.reserve(20))).refusal).toMatchObject({ code: 'stale_epoch' });
    request.expectExact(body, 150);
    expect(request.finish!.finishReason).toBe('length');
    expect(request.data.match(/"role":"assistant"/g)).toHaveLength(1);
    await expectNoLeak();
  });

  onlyInMemory(name)('tokens that the gateway has not got are sent again by the target', async () => {
    const { request, moves } = await running();
    await world.during(moves.reserve(20));
    await world.during(moves.copy(0, { last: true }));
    // As if the last five tokens were lost with the link to the source.
    const have = request.ids.length - 5;
    request.ids.length = have;
    request.text = '';
    request.data = '';
    target.open('b', 'req-1', { epoch: 2, reservationId: 'mig-1', nextIndex: have });
    await world.during(moves.release(true));
    await world.until(() => request.finish !== undefined, 'the answer ends');
    expect(request.gaps).toBe(0);
    expect(request.ids).toHaveLength(150);
    await expectNoLeak();
  });

  test('aborted after the reservation, after a pre-copy, after the last stage: the source goes on, the target is empty', async () => {
    const { request, moves } = await running();
    const abort = async () => {
      await world.during(moves.release(false));
      await world.during(moves.drop());
      const before = request.ids.length;
      await world.until(() => request.ids.length > before + 3, 'the source goes on');
      await world.until(() => status.get('b')!.reservedBlocks === 0 && status.get('b')!.freeBlocks === 64, 'the target is empty');
    };
    await world.during(moves.reserve(20));
    await abort();
    await world.during(moves.reserve(20));
    await world.during(moves.copy(0));
    await abort();
    await world.during(moves.reserve(20));
    await world.during(moves.copy(0));
    await world.during(moves.copy(1, { last: true }));
    await abort();
    await world.until(() => request.finish !== undefined, 'the answer ends');
    request.expectExact(body, 150);
    await expectNoLeak();
  });

  onlyInMemory(name)('every command may come twice', async () => {
    const { request, moves } = await running();
    const [one, two] = [await world.during(moves.reserve(20)), await world.during(moves.reserve(20))];
    expect(two.transferToken).toBe(one.transferToken);
    await world.during(Promise.all([moves.copy(0), moves.copy(0)]));
    const last = await world.during(moves.copy(1, { last: true }));
    const again = await world.during(moves.copy(1, { last: true }));
    expect(again).toMatchObject({ refusal: null, nextIndex: last.nextIndex, bytesSent: 0 });
    target.open('b', 'req-1', { epoch: 2, reservationId: 'mig-1', nextIndex: request.ids.length });
    target.repeatOpen();
    for (let i = 0; i < 2; i++) await world.during(moves.release(true));
    await world.during(moves.drop());
    await world.until(() => request.finish !== undefined, 'the answer ends');
    expect((await world.during(moves.copy(2, { last: true }))).refusal).toMatchObject({ code: 'cancelled' });
    request.expectExact(body, 150);
    await expectNoLeak();
  });

  test('damaged pieces are refused and sent again; when they stay damaged the stage fails and the source goes on', async () => {
    const { request, moves } = await running();
    await world.during(moves.reserve(20));
    let damaged = 0;
    const damage = (frame: KvFrame) => {
      if (!frame.piece) return KvFrame.encode(frame);
      damaged++;
      const payload = Uint8Array.from(frame.piece.payload);
      payload[payload.length >> 1]! ^= 4;
      return KvFrame.encode({ ...frame, piece: { ...frame.piece, payload } });
    };
    bend = (frame) => (frame.piece?.block === 2 && damaged < 1 ? damage(frame) : KvFrame.encode(frame));
    expect(await world.during(moves.copy(0))).toMatchObject({ refusal: null });
    expect(damaged).toBe(1);
    await world.until(() => request.ids.length >= 40, 'the source decodes on');
    bend = damage;
    expect((await world.during(moves.copy(1, { last: true }))).refusal).toMatchObject({ code: 'corrupt_kv', retryable: true });
    bend = (frame) => KvFrame.encode(frame);
    const before = request.ids.length;
    await world.until(() => request.ids.length > before + 3, 'the source goes on');
    expect(await world.during(moves.copy(1, { last: true }))).toMatchObject({ refusal: null });
    target.open('b', 'req-1', { epoch: 2, reservationId: 'mig-1', nextIndex: request.ids.length });
    await world.during(moves.release(true));
    await world.until(() => request.finish !== undefined, 'the answer ends');
    request.expectExact(body, 150);
    await expectNoLeak();
  });

  onlyInMemory(name)('whatever byte is flipped on the way: the stage is good, or is refused; never wrong tokens', async () => {
    const rng = seededRng(7);
    let flips = 0;
    for (let round = 0; round < 60; round++) {
      const requestId = `req-${round}`;
      const request = source.open('a', requestId, { body });
      await world.until(() => request.ids.length >= 20, 'tokens come');
      const moves = migration(worker, { id: `mig-${round}`, requestId, source: 'a', target: 'b' });
      await world.during(moves.reserve(20));
      let left = 1 + (round % 3);
      bend = (frame) => {
        const bytes = KvFrame.encode(frame);
        if (frame.hello || left === 0 || rng.next() < (frame.commit ? 0.4 : 0.7)) return bytes;
        left--;
        flips++;
        // Most often where it says what it is, not in the payload.
        bytes[Math.floor(rng.next() * Math.min(bytes.length, rng.next() < 0.8 ? 16 : Number.POSITIVE_INFINITY))]! ^= 1 << Math.floor(rng.next() * 8);
        return bytes;
      };
      const stages = [await world.during(moves.copy(0)), await world.during(moves.copy(1, { last: true }))];
      bend = (frame) => KvFrame.encode(frame);
      if (stages.every((stage) => stage.refusal === null)) {
        target.open('b', requestId, { epoch: 2, reservationId: `mig-${round}`, nextIndex: request.ids.length });
        await world.during(moves.release(true));
      } else {
        await world.during(moves.release(false));
        await world.during(moves.drop());
      }
      await world.until(() => request.finish !== undefined || request.error != null, 'the answer ends');
      expect(request.error).toBeUndefined();
      request.expectExact(body, 150);
    }
    expect(flips).toBeGreaterThan(40);
    await expectNoLeak();
  });

  test('a connection that dies is made good by the others; when all die the stage can be asked for again and resumes', async () => {
    const { request, moves } = await running();
    await world.during(moves.reserve(20));
    let dying = 1;
    bend = (frame, connection, index) => {
      if (frame.piece && index % 3 < dying) {
        connection.close();
        return undefined;
      }
      return KvFrame.encode(frame);
    };
    expect(await world.during(moves.copy(0))).toMatchObject({ refusal: null });
    dying = 3;
    await world.until(() => request.ids.length >= 40, 'the source decodes on');
    expect((await world.during(moves.copy(1))).refusal).toMatchObject({ code: 'transfer_failed', retryable: true });
    dying = 0;
    expect(await world.during(moves.copy(1, { last: true }))).toMatchObject({ refusal: null });
    target.open('b', 'req-1', { epoch: 2, reservationId: 'mig-1', nextIndex: request.ids.length });
    await world.during(moves.release(true));
    await world.until(() => request.finish !== undefined, 'the answer ends');
    request.expectExact(body, 150);
    await expectNoLeak();
  });

  onlyInMemory(name)('a sender without the agreed token is refused, and so is one for a reservation that is not there', async () => {
    const { request, moves } = await running();
    await world.during(moves.reserve(20));
    expect((await world.during(moves.copy(0, { transferToken: 'guess' }))).refusal).toMatchObject({ code: 'permission_denied' });
    await world.during(moves.drop());
    expect((await world.during(moves.copy(0))).refusal).toMatchObject({ code: 'unknown_reservation' });
    await world.until(() => request.finish !== undefined, 'the answer ends');
    request.expectExact(body, 150);
    await expectNoLeak();
  });

  onlyInMemory(name)('a waiting sequence moves by its state alone, one in prefill with the blocks that it has', async () => {
    const busy = Array.from({ length: 8 }, (_, i) => source.open('a', `busy-${i}`, { body: chatBody('x', 20) }));
    const waiting = source.open('a', 'waiting', { body });
    await world.until(() => status.get('a')!.sequences.some(({ state }) => state === 'waiting'), 'it waits');
    const first = migration(worker, { id: 'mig-w', requestId: 'waiting', source: 'a', target: 'b' });
    await world.during(first.reserve(0));
    expect(await world.during(first.copy(0, { last: true }))).toMatchObject({ refusal: null, blocksSent: 0, nextIndex: 0 });
    target.open('b', 'waiting', { epoch: 2, reservationId: 'mig-w' });
    await world.during(first.release(true));
    await world.until(() => waiting.finish !== undefined && busy.every((request) => request.finish), 'all end');
    waiting.expectExact(body, 150);

    const long = chatBody('word '.repeat(90), 10);
    const request = source.open('a', 'long', { body: long });
    await world.until(() => status.get('a')!.sequences.some(({ state }) => state === 'prefill'), 'it is in prefill');
    const second = migration(worker, { id: 'mig-p', requestId: 'long', source: 'a', target: 'b' });
    await world.during(second.reserve(48));
    const copied = await world.during(second.copy(0, { last: true }));
    expect(copied).toMatchObject({ refusal: null, nextIndex: 0 });
    expect(copied.blocksSent).toBeLessThan(48);
    target.open('b', 'long', { epoch: 2, reservationId: 'mig-p' });
    await world.during(second.release(true));
    await world.until(() => request.finish !== undefined, 'the answer ends');
    request.expectExact(long, 10);
    expect(request.data.match(/"role":"assistant"/g)).toHaveLength(1);
    await expectNoLeak();
  });

  onlyInMemory(name)('nobody comes back: the reservation expires and the paused source resumes', async () => {
    const { request, moves } = await running();
    await world.during(moves.reserve(20, 300));
    expect(await world.during(moves.copy(0, { last: true, pauseLeaseMs: 150 }))).toMatchObject({ refusal: null });
    const before = request.ids.length;
    await world.until(() => request.ids.length > before + 3, 'the lease of the pause ends');
    await world.until(() => status.get('b')!.reservedBlocks === 0, 'the reservation expires');
    // The take-over comes too late, and says so; the source was never asked to stop.
    target.open('b', 'req-1', { epoch: 2, reservationId: 'mig-1', nextIndex: request.ids.length });
    await world.until(() => request.error !== undefined, 'the take-over is refused');
    expect(request.error).toMatchObject({ code: 'reservation_expired' });
    source.cancel('req-1', 1, 'moved');
    await expectNoLeak();
  });

  onlyInMemory(name)('a sequence that ends or is cancelled during the copy gives its own reason', async () => {
    const { request, moves } = await running();
    await world.during(moves.reserve(20));
    await world.during(moves.copy(0));
    source.cancel('req-1', 1, 'client_left');
    await world.until(() => status.get('a')!.sequences.length === 0, 'it is gone');
    expect((await world.during(moves.copy(1))).refusal).toMatchObject({ code: 'cancelled' });
    await world.during(moves.drop());
    const next = source.open('a', 'req-2', { body });
    await world.until(() => next.finish !== undefined, 'the answer ends');
    const late = migration(worker, { id: 'mig-2', requestId: 'req-2', source: 'a', target: 'b' });
    expect((await world.during(late.copy(0))).refusal).toMatchObject({ code: 'sequence_finished' });
    expect((await world.during(migration(worker, { id: 'm', requestId: 'req-9', source: 'a', target: 'b' }).copy(0))).refusal).toMatchObject({
      code: 'unknown_request',
    });
    expect(request.finish).toBeUndefined();
    await expectNoLeak();
  });

  onlyInMemory(name)('blocks copied for the cache are found by the next request on the target', async () => {
    const { request, moves } = await running();
    await world.during(moves.reserve(20, 10_000, 'cache'));
    expect(await world.during(moves.copy(0))).toMatchObject({ refusal: null });
    await world.during(moves.drop());
    const same = target.open('b', 'req-2', { body });
    await world.until(() => same.finish !== undefined && request.finish !== undefined, 'both end');
    expect(same.finish!.usage!.cachedTokens).toBeGreaterThan(10);
    same.expectExact(body, 150);
    request.expectExact(body, 150);
    await expectNoLeak();
  });
});
