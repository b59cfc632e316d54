import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { EngineEvent } from '../../lib/ports/engines.ts';
import type { CancelStream, OpenStream } from '../../proto/gen/messages.ts';
import { type InstanceEffect, type InstanceMessage, type InstanceState, instanceActor } from './actor.ts';

const open = (requestId: string, epoch: number, stream: number, link = 1): InstanceMessage => ({
  type: 'open',
  link,
  open: { requestId, epoch, stream, instanceId: 'i' } as OpenStream,
});
const cancel = (requestId: string, epoch: number, link = 1): InstanceMessage => ({
  type: 'cancel',
  link,
  cancel: { requestId, epoch, stream: 0, reason: 'client_left' } as CancelStream,
});
const said = (requestId: string, epoch: number, finishReason = ''): EngineEvent => ({
  ...{ requestId, epoch, index: 0, tokenIds: [1], text: ' a', data: new Uint8Array(0), finishReason, finalBody: new Uint8Array(0) },
});

function play(...messages: InstanceMessage[]): { state: InstanceState; effects: InstanceEffect[] } {
  let state = instanceActor.start('i', 0);
  let effects: readonly InstanceEffect[] = [];
  for (const message of messages) {
    [state, effects] = instanceActor.step(state, message, 0);
    instanceActor.assertValid(state);
  }
  return { state, effects: [...effects] };
}

describe('instance actor', () => {
  test('opens a stream once per request and epoch, also after it has ended', () => {
    expect(play(open('r', 1, 5)).effects).toMatchObject([{ type: 'engine_open' }]);
    expect(play(open('r', 1, 5), open('r', 1, 5)).effects).toEqual([]);
    expect(play(open('r', 1, 5), cancel('r', 1), open('r', 1, 5)).effects).toEqual([]);
  });

  test('refuses an older epoch and lets a newer one supersede', () => {
    expect(play(open('r', 2, 5), open('r', 1, 6)).effects).toMatchObject([{ type: 'send', events: [{ stream: 6, error: { code: 'stale_epoch' } }] }]);
    expect(play(open('r', 1, 5), open('r', 2, 6)).effects).toMatchObject([
      { type: 'engine_cancel', epoch: 1 },
      { type: 'ended', epoch: 1, why: 'superseded' },
      { type: 'engine_open', open: { epoch: 2 } },
    ]);
  });

  test('sends one frame per link with all events of a step', () => {
    const { effects } = play(open('a', 1, 1), open('b', 1, 2), open('c', 1, 1, 2), {
      type: 'events',
      events: [said('a', 1), said('c', 1), said('b', 1), said('b', 7), said('x', 1)],
    });
    expect(effects).toMatchObject([
      { type: 'send', link: 1, events: [{ stream: 1 }, { stream: 2 }] },
      { type: 'send', link: 2, events: [{ stream: 1 }] },
    ]);
  });

  test('a step without an end leaves the state as it is; an end closes the stream', () => {
    const { state } = play(open('a', 1, 1));
    expect(instanceActor.step(state, { type: 'events', events: [said('a', 1)] }, 0)[0]).toBe(state);
    const [after, effects] = instanceActor.step(state, { type: 'events', events: [said('a', 1, 'stop')] }, 0);
    expect(after.streams.size).toBe(0);
    expect(effects.at(-1)).toEqual({ type: 'ended', requestId: 'a', epoch: 1, why: 'finished' });
  });

  test('the first token of a stream is worth a report, further ones are not', () => {
    const spoken = (index: number): InstanceMessage => ({ type: 'events', events: [{ ...said('a', 1), index }] });
    const begun = { type: 'open', link: 1, open: { requestId: 'a', epoch: 1, stream: 1, instanceId: 'i', nextIndex: 7 } as OpenStream } as const;
    expect(play(begun, spoken(7)).effects.map(({ type }) => type)).toEqual(['send', 'report']);
    expect(play(begun, spoken(7), spoken(8)).effects.map(({ type }) => type)).toEqual(['send']);
  });

  test('a cancel needs the right epoch and the right link', () => {
    expect(play(open('r', 2, 5), cancel('r', 1)).effects).toEqual([]);
    expect(play(open('r', 2, 5), cancel('r', 2, 9)).effects).toEqual([]);
    expect(play(open('r', 2, 5), cancel('r', 2)).effects).toMatchObject([{ type: 'engine_cancel' }, { type: 'ended', why: 'client_left' }]);
  });

  test('a closed link ends its own streams only', () => {
    const { state } = play(open('a', 1, 1), open('b', 1, 1, 2), { type: 'link_closed', link: 1 });
    expect([...state.streams.keys()]).toEqual(['b']);
  });

  test('stopping refuses what is new and tells what is open', () => {
    expect(play({ type: 'stop_accepting' }, open('r', 1, 1)).effects).toMatchObject([{ type: 'send', events: [{ error: { code: 'draining' } }] }]);
    const error = { code: 'draining', message: '', retryable: true, retryAfterMs: 0 };
    const { state, effects } = play(open('r', 1, 1), { type: 'end_all', error });
    expect(state.streams.size).toBe(0);
    expect(effects).toMatchObject([{ type: 'send', events: [{ error }] }, { type: 'engine_cancel' }, { type: 'ended', why: 'error' }]);
  });

  test('remembers a bounded number of ended requests', () => {
    const messages = Array.from({ length: 3000 }, (_, i) => [open(`r${i}`, 1, i), cancel(`r${i}`, 1)]).flat();
    expect(play(...messages).state.newestEpoch.size).toBeLessThanOrEqual(1025);
  });

  test('whatever comes, the engine has exactly the streams that the actor has', () => {
    const request = fc.constantFrom('a', 'b', 'c');
    const epoch = fc.integer({ min: 1, max: 4 });
    const link = fc.integer({ min: 1, max: 2 });
    const message: fc.Arbitrary<InstanceMessage> = fc.oneof(
      fc.tuple(request, epoch, link).map(([r, e, l]) => open(r, e, e, l)),
      fc.tuple(request, epoch, link).map(([r, e, l]) => cancel(r, e, l)),
      link.map((l): InstanceMessage => ({ type: 'link_closed', link: l })),
      fc.tuple(request, epoch, fc.boolean()).map(([r, e, ends]): InstanceMessage => ({ type: 'events', events: [said(r, e, ends ? 'stop' : '')] })),
      fc.tuple(request, epoch).map(([requestId, e]): InstanceMessage => ({ type: 'released', requestId, epoch: e })),
    );
    fc.assert(
      fc.property(fc.array(message, { maxLength: 60, size: 'max' }), (messages) => {
        let state = instanceActor.start('i', 0);
        const engine = new Set<string>();
        for (const each of messages) {
          const [next, effects] = instanceActor.step(state, each, 0);
          if (each.type === 'events') for (const event of each.events) if (event.finishReason) engine.delete(`${event.requestId}@${event.epoch}`);
          for (const effect of effects) {
            if (effect.type === 'engine_open') engine.add(`${effect.open.requestId}@${effect.open.epoch}`);
            if (effect.type === 'engine_cancel') engine.delete(`${effect.requestId}@${effect.epoch}`);
          }
          state = next;
          instanceActor.assertValid(state);
          expect([...engine].sort()).toEqual([...state.streams.values()].map((s) => `${s.requestId}@${s.epoch}`).sort());
        }
      }),
    );
  });
});
