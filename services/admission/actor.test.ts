// The queue actor under arbitrary messages in arbitrary order: what must hold whatever the bus does.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { anInstance, aRequest, aView } from '../../core/routing/routing-fixtures.ts';
import { changeOfView } from '../../core/tracking/fleet-replica.ts';
import type { RequestInfo } from '../../proto/gen/messages.ts';
import { queueActor } from './actor.ts';
import { admissionSchema } from './config.ts';
import type { PoolEffect, PoolMessage, PoolState } from './pool-state.ts';

const config = admissionSchema.parse({
  maxQueued: 4,
  maxAssigned: 12,
  maxEnded: 12,
  maxBatch: 3,
  fleet: { pools: [{ id: 'chat', models: ['m'], instances: 1, sim: { profile: 'p' } }] },
});
const actor = queueActor(config);

type Move =
  | { readonly kind: 'ask'; readonly id: number; readonly epoch: number; readonly key: boolean; readonly priority: number }
  | { readonly kind: 'leave' | 'done'; readonly id: number }
  | { readonly kind: 'reserved'; readonly ok: boolean }
  | { readonly kind: 'routed'; readonly placed: boolean }
  | { readonly kind: 'failed' | 'gained' | 'lost' | 'view' | 'pass' };

const anId = fc.nat({ max: 15 });
const moves: fc.Arbitrary<Move[]> = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('ask' as const),
        id: anId,
        epoch: fc.nat({ max: 2 }),
        key: fc.boolean(),
        priority: fc.integer({ min: -1, max: 1 }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('leave' as const, 'done' as const), id: anId }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('reserved' as const), ok: fc.boolean() }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('routed' as const), placed: fc.boolean() }) },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constantFrom('failed' as const, 'gained' as const, 'gained' as const, 'lost' as const, 'view' as const, 'pass' as const),
      }),
    },
  ),
  { maxLength: 120 },
);

/** Plays the world around the actor: a store and a router that answer late, in order, or not at all. */
class Play {
  state: PoolState = actor.start('chat', 0);
  nowMs = 0;
  readonly effects: PoolEffect[] = [];
  readonly answered = new Map<number, number>();
  asks = 0;
  #epoch = 0;
  #version = 0;
  readonly #reserving: Extract<PoolEffect, { type: 'reserve' }>[] = [];
  readonly #routing: Extract<PoolEffect, { type: 'route' }>[] = [];

  send(message: PoolMessage | { type: 'wake' }): void {
    const [state, effects] = actor.step(this.state, message, this.nowMs);
    actor.assertValid(state);
    this.state = state;
    for (const effect of effects) {
      this.effects.push(effect);
      if (effect.type === 'reserve') this.#reserving.push(effect);
      if (effect.type === 'route') this.#routing.push(effect);
      if (effect.type === 'answer' || effect.type === 'notOwner') this.answered.set(effect.ask, (this.answered.get(effect.ask) ?? 0) + 1);
    }
  }

  make(move: Move): void {
    this.nowMs += 37;
    switch (move.kind) {
      case 'ask': {
        const { epoch, priority, key } = move;
        const request = aRequest(`r${move.id}`, { epoch, priority, keyId: key ? 'k' : '', queueDeadlineMs: this.nowMs + 2_000 });
        this.send({ type: 'ask', ask: this.asks++, request, answerByMs: this.nowMs + 1_000 });
        break;
      }
      case 'leave':
        this.send({ type: 'leave', requestId: `r${move.id}` });
        break;
      case 'done':
        this.send({ type: 'done', requestIds: [`r${move.id}`] });
        break;
      case 'reserved': {
        const effect = this.#reserving.shift();
        const no = { code: 'rate_limit_exceeded', message: '', retryable: true, retryAfterMs: 1 };
        if (effect) this.send({ type: 'reserved', request: effect.request, held: move.ok, limits: null, refusal: move.ok ? null : no });
        break;
      }
      case 'routed':
        this.#routed(move.placed);
        break;
      case 'failed': {
        const effect = this.#routing.shift();
        if (effect) this.send({ type: 'routeFailed', batch: effect.batch, code: 'timeout' });
        break;
      }
      case 'gained':
        if (this.state.ownerEpoch === undefined) this.send({ type: 'gained', epoch: ++this.#epoch });
        break;
      case 'lost':
        this.send({ type: 'lost' });
        break;
      case 'view':
        this.send({
          type: 'fleet',
          change: changeOfView(aView([anInstance('a', { maxRunning: 3, sequenceNumber: ++this.#version })], { version: this.#version })),
        });
        break;
      case 'pass':
        this.pass(1_500);
    }
  }

  pass(ms: number): void {
    const untilMs = this.nowMs + ms;
    for (let at = actor.wakeAt(this.state); at !== undefined && at <= untilMs; at = actor.wakeAt(this.state)) {
      this.nowMs = Math.max(this.nowMs, at);
      this.send({ type: 'wake' });
    }
    this.nowMs = untilMs;
  }

  #routed(placed: boolean): void {
    const effect = this.#routing.shift();
    if (!effect) return;
    const results = effect.requests.map(({ requestId, epoch }) =>
      placed
        ? { requestId, assignment: { requestId, pool: 'chat', instanceId: 'a', address: 'ws://a', epoch: epoch + 1, assignedAtMs: 0, routerId: 'x' } }
        : { requestId, refusal: { code: 'all_saturated', message: '', retryable: true, retryAfterMs: 0 } },
    );
    this.send({ type: 'routed', batch: effect.batch, results });
  }
}

describe('an owner', () => {
  const owning = () => {
    const play = new Play();
    play.make({ kind: 'gained' });
    play.make({ kind: 'view' });
    return play;
  };
  const ask = (play: Play, requestId: string, partial: Partial<RequestInfo> = {}) =>
    play.send({
      type: 'ask',
      ask: play.asks++,
      request: aRequest(requestId, { queueDeadlineMs: play.nowMs + 30_000, ...partial }),
      answerByMs: play.nowMs + 1_000,
    });
  const of = <T extends PoolEffect['type']>(play: Play, type: T) =>
    play.effects.filter((effect): effect is Extract<PoolEffect, { type: T }> => effect.type === type);
  const batches = (play: Play) => of(play, 'route').map(({ requests }) => requests.map(({ requestId }) => requestId));

  test('waits for those that come back before it dispatches, and then keeps their order', () => {
    const play = owning();
    ask(play, 'late', { arrivalMs: 2 });
    play.pass(50);
    ask(play, 'early', { arrivalMs: 1 });
    expect(batches(play)).toEqual([]);
    play.pass(config.regatherMs);
    expect(batches(play)).toEqual([['early', 'late']]);
  });

  test('gives a reservation back when the client leaves, not that of a request which has run', () => {
    const play = owning();
    ask(play, 'r1', { keyId: 'k' });
    play.make({ kind: 'reserved', ok: true });
    play.send({ type: 'leave', requestId: 'r1' });
    expect(of(play, 'refund').map(({ request }) => request.requestId)).toEqual(['r1']);

    ask(play, 'r2', { keyId: 'k' });
    play.make({ kind: 'reserved', ok: true });
    play.pass(config.regatherMs);
    play.make({ kind: 'routed', placed: true });
    ask(play, 'r2', { keyId: 'k', epoch: 1, generatedTokens: 3 });
    play.send({ type: 'leave', requestId: 'r2' });
    expect(of(play, 'refund')).toHaveLength(1);
  });

  test('gives a reservation back that was granted after the client had left, but not one that the next owner uses', () => {
    const play = owning();
    ask(play, 'r1', { keyId: 'k' });
    play.send({ type: 'leave', requestId: 'r1' });
    play.make({ kind: 'reserved', ok: true });
    expect(of(play, 'refund')).toHaveLength(1);
    ask(play, 'r2', { keyId: 'k' });
    play.send({ type: 'lost' });
    play.make({ kind: 'reserved', ok: true });
    expect(of(play, 'refund')).toHaveLength(1);
  });

  test('lets requests in however many run, and remembers the assignments made last', () => {
    const play = new Play();
    play.make({ kind: 'gained' });
    play.send({ type: 'fleet', change: changeOfView(aView([anInstance('a', { maxRunning: 1_000, totalBlocks: 9_000, freeBlocks: 9_000 })])) });
    play.pass(config.regatherMs);
    for (let index = 0; index < 40; index++) {
      ask(play, `r${index}`);
      play.make({ kind: 'routed', placed: true });
    }
    expect(of(play, 'answer').filter(({ reply }) => reply.outcome === 'assigned')).toHaveLength(40);
    expect([...play.state.entries.keys()]).toEqual(Array.from({ length: config.maxAssigned }, (_, k) => `r${28 + k}`));
  });

  test('tells the router once which requests have ended, whose room it sees', () => {
    const play = owning();
    ask(play, 'r1');
    ask(play, 'r2');
    play.pass(config.regatherMs);
    play.make({ kind: 'routed', placed: true });
    play.send({ type: 'done', requestIds: ['r1', 'r2'] });
    play.send({ type: 'leave', requestId: 'r3' });
    ask(play, 'r4');
    play.make({ kind: 'routed', placed: true });
    ask(play, 'r5');
    expect(of(play, 'route').map(({ ended }) => ended)).toEqual([[], ['r1', 'r2', 'r3'], []]);
  });

  test('remembers so many ends for the router', () => {
    const play = owning();
    const ids = Array.from({ length: 300 }, (_, index) => `e${index}`);
    play.send({ type: 'done', requestIds: ids });
    ask(play, 'r1');
    play.pass(config.regatherMs);
    expect(of(play, 'route').map(({ ended }) => ended)).toEqual([ids.slice(-256)]);
  });

  test('takes no answer for a batch that it has given up', () => {
    const play = owning();
    ask(play, 'r1');
    play.pass(config.regatherMs);
    play.send({ type: 'lost' });
    play.make({ kind: 'gained' });
    ask(play, 'r1');
    play.pass(config.regatherMs);
    expect(of(play, 'route')).toHaveLength(2);
    play.make({ kind: 'routed', placed: true });
    expect(play.state.entries.get('r1')!.phase).toBe('routing');
    play.make({ kind: 'routed', placed: true });
    expect(play.state.entries.get('r1')!.phase).toBe('assigned');
  });

  test('steps down when a router has seen a later owner', () => {
    const play = owning();
    ask(play, 'r1');
    ask(play, 'r2');
    play.pass(config.regatherMs);
    play.send({ type: 'routeFailed', batch: 1, code: 'stale_epoch' });
    expect(of(play, 'stepDown')).toHaveLength(1);
    expect(of(play, 'notOwner').map((effect) => effect.ask)).toEqual([0, 1]);
    expect(play.state.ownerEpoch).toBeUndefined();
  });

  test('refuses a question from before the assignment, and gives a later one a new place at the head', () => {
    const play = owning();
    ask(play, 'r1', { epoch: 1, generatedTokens: 1 });
    play.pass(config.regatherMs);
    play.make({ kind: 'routed', placed: true });
    ask(play, 'r1', { epoch: 0 });
    expect(of(play, 'answer').at(-1)!.reply.refusal?.code).toBe('stale_epoch');
    ask(play, 'r1', { epoch: 2, generatedTokens: 4 });
    expect(of(play, 'route').at(-1)!.requests).toMatchObject([{ requestId: 'r1', epoch: 2 }]);
  });
});

describe('whatever happens', () => {
  const played = (list: readonly Move[]) => {
    const play = new Play();
    for (const move of [{ kind: 'gained' } as const, { kind: 'view' } as const, ...list]) play.make(move);
    return play;
  };

  test('every question is answered exactly once, within its time', () => {
    fc.assert(
      fc.property(moves, (list) => {
        const play = played(list);
        play.pass(1_001);
        expect([...play.answered.keys()].sort((a, b) => a - b)).toEqual(Array.from({ length: play.asks }, (_, ask) => ask));
        expect([...play.answered.values()].every((times) => times === 1)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test('only the owner sends batches, under its epoch, never larger than allowed', () => {
    fc.assert(
      fc.property(moves, (list) => {
        const play = new Play();
        for (const move of list) {
          const before = play.effects.length;
          play.make(move);
          for (const effect of play.effects.slice(before)) {
            if (effect.type !== 'route') continue;
            expect(effect.requests.length).toBeLessThanOrEqual(config.maxBatch);
            expect(new Set(effect.requests.map(({ requestId }) => requestId)).size).toBe(effect.requests.length);
          }
        }
        const epochs = play.effects.flatMap((effect) => (effect.type === 'route' ? [effect.epoch] : []));
        expect(epochs).toEqual(epochs.toSorted((a, b) => a - b));
      }),
    );
  });

  test('one (request, epoch) is never answered with two different assignments by the same owner', () => {
    fc.assert(
      fc.property(moves, (list) => {
        const waits = played(list.filter((move) => move.kind !== 'lost')).effects.flatMap((effect) =>
          effect.type === 'answer' && effect.reply.outcome === 'assigned' ? [effect.reply.assignment!] : [],
        );
        const byEpoch = new Map<string, unknown>();
        for (const assignment of waits) {
          const name = `${assignment.requestId}/${assignment.epoch}`;
          expect(byEpoch.get(name) ?? assignment).toEqual(assignment);
          byEpoch.set(name, assignment);
        }
      }),
    );
  });

  test('a reservation is given back at most once', () => {
    fc.assert(
      fc.property(moves, (list) => {
        const { effects } = played(list.filter((move) => move.kind !== 'lost' && move.kind !== 'pass'));
        const refunds = effects.flatMap((effect) => (effect.type === 'refund' ? [effect.request.requestId] : []));
        expect(new Set(refunds).size).toBe(refunds.length);
      }),
    );
  });

  test('the same messages at the same times give the same effects', () => {
    fc.assert(
      fc.property(moves, (list) => {
        expect(played(list).effects).toEqual(played(list).effects);
      }),
    );
  });

  test('left alone, it forgets everything in the end', () => {
    fc.assert(
      fc.property(moves, (list) => {
        const play = played(list);
        play.make({ kind: 'failed' });
        play.pass(40_000);
        if (play.state.batch) return;
        expect([...play.state.entries.keys()]).toEqual([]);
        expect(play.state.parked.size).toBe(0);
        expect(play.state.queue.size).toBe(0);
      }),
    );
  });
});
