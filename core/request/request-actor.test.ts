import { describe, expect, test } from 'vitest';
import type { Code } from '../errors/codes.ts';
import { refusal } from '../errors/switchyard-error.ts';
import { type Effects, limits, Story } from './request-story.ts';

const assigned = (epoch: number, instanceId = 'chat-1') => ({ outcome: 'assigned', epoch, instanceId }) as const;

describe('an engine that turns the request away', () => {
  const away = { tokenIds: [], text: '', data: new Uint8Array(), error: refusal('engine_unavailable', 'the engine answers 503', 300) };

  test('is left for another one while the budget has a retry', () => {
    const story = new Story();
    story.begin();
    story.admit(assigned(1));
    const effects = story.say(0, 0, away);
    expect(effects).toMatchObject([
      { type: 'cancel' },
      { type: 'note', reason: 'engine_unavailable' },
      { type: 'ask', info: { avoidInstances: ['chat-1'] } },
    ]);
  });

  test('has the last word when the budget is spent', () => {
    const story = new Story();
    story.begin();
    story.admit(assigned(1));
    const effects = story.say(0, 0, away, true);
    expect(effects[0]).toMatchObject({ type: 'failClient', code: 'engine_unavailable', retryAfterMs: 300 });
  });

  test('and two others that do so have the last word, whatever the budget says', () => {
    const story = new Story();
    story.begin();
    for (const epoch of [1, 2]) {
      story.admit(assigned(epoch, `chat-${epoch}`));
      story.say(0, 0, away);
    }
    story.admit(assigned(3, 'chat-3'));
    expect(story.say(0, 0, away)[0]).toMatchObject({ type: 'failClient', code: 'engine_unavailable', retryAfterMs: 300 });
  });

  test('in mid-stream is left whatever the budget says: the client has tokens', () => {
    const story = new Story();
    story.begin();
    story.admit(assigned(1));
    story.say(0, 2);
    expect(story.say(2, 0, away, true)).toMatchObject([{ type: 'cancel' }, { type: 'note' }, { type: 'ask', info: { generatedTokens: 2 } }]);
  });

  test('and admission, which says that all do: the client comes back later, unless it has tokens', () => {
    for (const tokens of [0, 2]) {
      const story = new Story();
      story.begin();
      story.admit(assigned(1));
      if (tokens > 0) story.say(0, tokens);
      story.say(tokens, 0, away);
      story.admit({ outcome: 'refused', code: 'engine_unavailable', retryAfterMs: 1_000 });
      expect(story.state.phase).toBe(tokens > 0 ? 'recovering' : 'failed');
    }
  });
});

describe('asking admission', () => {
  test('a new request asks with epoch 0 and no generated tokens', () => {
    const [asked] = new Story().begin();
    expect(asked).toMatchObject({ type: 'ask', ask: 1, info: { requestId: 'req-1', epoch: 0, generatedTokens: 0, avoidInstances: [] } });
  });

  test('an assignment for the next epoch opens the stream', () => {
    const story = new Story();
    story.begin();
    expect(story.admit(assigned(1))).toMatchObject([{ type: 'open', epoch: 1, instanceId: 'chat-1', reservationId: '' }]);
    expect(story.state.phase).toBe('opening');
  });

  test.each([0, 2, 7])('an assignment for epoch %i is not for now: the request asks again a little later', (epoch) => {
    const story = new Story();
    story.begin();
    expect(story.admit(assigned(epoch))).toEqual([]);
    expect(story.state.phase).toBe('admitting');
    expect(story.pass(limits.askAgainMs)).toMatchObject([{ type: 'ask', ask: 2 }]);
  });

  test('while queued it keeps its position and asks again at once', () => {
    const story = new Story();
    story.begin();
    story.nowMs += 900;
    expect(story.admit({ outcome: 'queued', position: 3 })).toMatchObject([{ type: 'ask', ask: 2 }]);
    expect(story.state).toMatchObject({ phase: 'queued', queuePosition: 3 });
  });

  test('a "queued" that comes at once does not lead to a tight loop', () => {
    const story = new Story();
    story.begin();
    expect(story.admit({ outcome: 'queued', position: 3 })).toEqual([]);
    expect(story.pass(limits.askAgainMs)).toMatchObject([{ type: 'ask', ask: 2 }]);
  });

  test.each<Code>(['timeout', 'no_responders', 'bus_unavailable'])('%s is tried again until the queue deadline, then said', (code) => {
    const story = new Story();
    story.begin();
    let effects: Effects = [];
    for (let tries = 0; tries < 1000 && !story.state.ending; tries++) {
      story.tell({ type: 'admitFailed', ask: story.state.ask, code, message: 'nobody there' });
      effects = story.pass(limits.askAgainMs);
    }
    expect(story.nowMs).toBeGreaterThanOrEqual(story.startMs + 30_000);
    expect(effects.map((effect) => effect.type)).toEqual(['leaveQueue', 'failClient', 'done']);
    expect(story.state.ending).toMatchObject({ outcome: 'refused', code });
  });

  test('a request that is still queued at its deadline is refused with queue_timeout', () => {
    const story = new Story();
    story.begin();
    story.nowMs += 1000;
    story.admit({ outcome: 'queued', position: 1 });
    const effects = story.pass(30_000);
    expect(effects).toMatchObject([{ type: 'leaveQueue' }, { type: 'failClient', code: 'queue_timeout' }, { type: 'done' }]);
  });

  test('a refusal of the limits is final', () => {
    const story = new Story();
    story.begin();
    const effects = story.admit({ outcome: 'refused', code: 'rate_limit_exceeded', retryAfterMs: 700 });
    expect(effects).toMatchObject([
      { type: 'failClient', code: 'rate_limit_exceeded', retryAfterMs: 700 },
      { type: 'done', ending: { outcome: 'refused' } },
    ]);
  });

  test('"not the owner" is asked again', () => {
    const story = new Story();
    story.begin();
    expect(story.admit({ outcome: 'refused', code: 'not_owner' })).toEqual([]);
    expect(story.pass(limits.askAgainMs)).toMatchObject([{ type: 'ask' }]);
  });

  test('a new owner of the queue is asked at once, and the answer to the question before still counts', () => {
    const story = new Story();
    story.begin();
    expect(story.tell({ type: 'queueOwnerChanged' })).toMatchObject([{ type: 'ask', ask: 2 }]);
    expect(story.admit({ outcome: 'refused', code: 'queue_full' }, 1)).toEqual([]);
    expect(story.admit(assigned(1), 1)).toMatchObject([{ type: 'open', epoch: 1 }]);
    expect(story.admit(assigned(1), 2)).toEqual([]);
  });
});

describe('tokens', () => {
  test('are forwarded untouched, logged, and the first one is noted', () => {
    const story = Story.streaming();
    expect(story.say(0, 1)).toMatchObject([
      { type: 'note', event: 'first_token' },
      { type: 'forward', data: story.bytes(0, 1) },
    ]);
    expect(story.say(1, 1)).toEqual([{ type: 'forward', data: story.bytes(1, 1) }]);
    expect(story.state.log.text).toBe('t0 t1 ');
    expect(story.state.phase).toBe('streaming');
  });

  test('of an older epoch are dropped', () => {
    const story = Story.streaming();
    story.handOver({ toEpoch: 2 });
    expect(story.say(0, 1, { epoch: 1 })).toEqual([{ type: 'dropped', reason: 'stale_epoch' }]);
    expect(story.state.log.length).toBe(0);
  });

  test('that were forwarded already are dropped', () => {
    const story = Story.streaming();
    story.say(0, 3);
    expect(story.say(1, 2)).toEqual([{ type: 'dropped', reason: 'repeated' }]);
  });

  test.each([
    ['leaves a gap', 5, 1],
    ['overlaps in part', 2, 2],
  ])('an event that %s makes the instance a failed one', (_what, index, count) => {
    const story = Story.streaming();
    story.say(0, 3);
    const effects = story.say(index, count);
    expect(effects).toMatchObject([
      { type: 'cancel', epoch: 1, reason: 'superseded' },
      { type: 'note', event: 'failover', reason: 'gap' },
      { type: 'ask', info: { epoch: 1, generatedTokens: 3, avoidInstances: ['chat-1'] } },
    ]);
  });

  test('more than were asked for end the request', () => {
    const story = Story.streaming();
    expect(story.say(0, 101)).toMatchObject([{ type: 'cancel' }, { type: 'failClient', code: 'engine_error' }, { type: 'done' }]);
  });

  test('the finish completes the answer and the request, once', () => {
    const story = Story.streaming();
    story.say(0, 2);
    const effects = story.say(2, 1, { finishReason: 'stop', usage: { promptTokens: 4, outputTokens: 3, cachedTokens: 1 } });
    expect(effects).toMatchObject([
      { type: 'complete', data: story.bytes(2, 1) },
      { type: 'done', ending: { outcome: 'completed', finishReason: 'stop' } },
    ]);
    expect(story.state.usage?.outputTokens).toBe(3);
    expect(story.say(2, 1, { finishReason: 'stop' })).toEqual([]);
  });

  test('a finish that has lost tokens before it is a failure, not an end', () => {
    const story = Story.streaming();
    story.say(0, 2);
    expect(story.say(4, 0, { finishReason: 'stop' })).toMatchObject([{ type: 'cancel' }, { event: 'failover' }, { type: 'ask' }]);
  });

  test('bytes before the first token go out once, whichever instance sends them', () => {
    const story = Story.streaming();
    const data = new TextEncoder().encode('data: {"role":"assistant"}\n\n');
    expect(story.say(0, 0, { data })).toEqual([{ type: 'forward', data }]);
    story.tell({ type: 'streamLost', epoch: 1, why: 'link_closed' });
    story.admit(assigned(2, 'chat-2'));
    expect(story.say(0, 0, { data })).toEqual([{ type: 'dropped', reason: 'repeated' }]);
    expect(story.say(0, 1)).toMatchObject([{ type: 'note' }, { type: 'forward' }]);
  });
});

describe('failure of an instance', () => {
  test('before the first token asks for another one', () => {
    const story = Story.streaming();
    expect(story.tell({ type: 'streamLost', epoch: 1, why: 'unreachable' })).toMatchObject([
      { type: 'cancel', epoch: 1 },
      { type: 'note', reason: 'unreachable' },
      { type: 'ask', info: { generatedTokens: 0, avoidInstances: ['chat-1'], epoch: 1 } },
    ]);
    expect(story.state.phase).toBe('recovering');
  });

  test('in mid-stream continues from the token log under the next epoch', () => {
    const story = Story.streaming();
    story.say(0, 2);
    story.tell({ type: 'instanceDead', instanceId: 'chat-1' });
    const [opened] = story.admit(assigned(2, 'chat-2'));
    expect(opened).toMatchObject({ type: 'open', epoch: 2, instanceId: 'chat-2', log: { length: 2, text: 't0 t1 ' } });
    expect(story.say(2, 1)).toMatchObject([{ type: 'forward' }]);
  });

  test('nothing that the failed instance says afterwards counts', () => {
    const story = Story.streaming();
    story.say(0, 1);
    story.tell({ type: 'streamLost', epoch: 1, why: 'link_closed' });
    expect(story.say(1, 1)).toEqual([{ type: 'dropped', reason: 'stale_epoch' }]);
  });

  test('is seen when the stream is silent for too long', () => {
    const story = Story.streaming();
    story.say(0, 1);
    expect(story.pass(limits.stallMs - 1)).toEqual([]);
    story.say(1, 1);
    expect(story.pass(limits.stallMs - 1)).toEqual([]);
    expect(story.pass(1)).toMatchObject([{ type: 'cancel' }, { type: 'note', reason: 'stalled' }, { type: 'ask' }]);
  });

  test('is seen later before the first token, because prefill takes its time', () => {
    const story = Story.streaming();
    expect(story.pass(limits.firstTokenMs - 1)).toEqual([]);
    expect(story.pass(1)).toMatchObject([{ type: 'cancel' }, { reason: 'stalled' }, { type: 'ask' }]);
  });

  test('of another instance or another epoch is not ours', () => {
    const story = Story.streaming();
    expect(story.tell({ type: 'instanceDead', instanceId: 'chat-2' })).toEqual([]);
    expect(story.tell({ type: 'streamLost', epoch: 9, why: 'link_closed' })).toEqual([]);
  });

  test('too often ends the request with an error', () => {
    const story = Story.streaming();
    story.say(0, 1);
    for (let epoch = 2; epoch <= limits.maxFailovers + 1; epoch++) {
      story.tell({ type: 'streamLost', epoch: epoch - 1, why: 'link_closed' });
      story.admit(assigned(epoch, `chat-${epoch}`));
    }
    const effects = story.tell({ type: 'streamLost', epoch: limits.maxFailovers + 1, why: 'link_closed' });
    expect(effects).toMatchObject([
      { type: 'cancel' },
      { type: 'failClient', code: 'stream_interrupted' },
      { type: 'done', ending: { outcome: 'failed' } },
    ]);
  });

  test('without anybody to continue ends the request when recovery has taken too long', () => {
    const story = Story.streaming();
    story.say(0, 1);
    story.tell({ type: 'streamLost', epoch: 1, why: 'link_closed' });
    story.admit({ outcome: 'refused', code: 'no_instance' });
    const effects = story.pass(limits.recoverMs);
    expect(effects.at(-2)).toMatchObject({ type: 'failClient', code: 'stream_interrupted' });
  });

  test('an instance that failed is asked for again when avoiding it has led to nothing', () => {
    const story = Story.streaming();
    story.tell({ type: 'streamLost', epoch: 1, why: 'link_closed' });
    story.nowMs += limits.avoidMs;
    story.admit({ outcome: 'refused', code: 'no_instance' });
    expect(story.pass(limits.askAgainMs)).toMatchObject([{ type: 'ask', info: { avoidInstances: [] } }]);
  });

  test('an error that another instance would repeat is the client’s to see', () => {
    const story = Story.streaming();
    const error = { code: 'context_length_exceeded', message: 'too long', retryable: false, retryAfterMs: 0 };
    expect(story.say(0, 0, { error })).toMatchObject([{ type: 'failClient', code: 'context_length_exceeded' }, { type: 'done' }]);
  });

  test('a request with guided decoding ends with cannot_continue once it has tokens', () => {
    const story = Story.streaming({ continuationNeeds: ['guided'] });
    story.say(0, 1);
    expect(story.tell({ type: 'streamLost', epoch: 1, why: 'link_closed' })).toMatchObject([
      { type: 'cancel' },
      { type: 'failClient', code: 'cannot_continue' },
      { type: 'done' },
    ]);
  });

  test('the same request starts anew while it has none, and goes on where the engine restores guided decoding', () => {
    const without = Story.streaming({ continuationNeeds: ['guided'] });
    expect(without.tell({ type: 'streamLost', epoch: 1, why: 'link_closed' }).at(-1)).toMatchObject({ type: 'ask' });
    const restored = Story.streaming({ continuationNeeds: ['guided'] }, ['continue:guided']);
    restored.say(0, 1);
    expect(restored.tell({ type: 'streamLost', epoch: 1, why: 'link_closed' }).at(-1)).toMatchObject({ type: 'ask' });
  });
});

describe('hand-over', () => {
  test('commits when the epoch is the expected one: the target speaks, the source is told that it moved', () => {
    const story = Story.streaming();
    story.say(0, 2);
    const effects = story.handOver({ toEpoch: 2, nextIndex: 4, reservationId: 'res-1' });
    expect(effects).toMatchObject([
      { type: 'cancel', epoch: 1, reason: 'moved' },
      { type: 'open', epoch: 2, instanceId: 'chat-9', reservationId: 'res-1', log: { length: 2 } },
      { type: 'note', event: 'hand_over' },
    ]);
    expect(story.answer()).toMatchObject({ outcome: 'committed', epoch: 2, instanceId: 'chat-9' });
    // Tokens 2 and 3 were on their way from the source: they do not count, the target sends them again.
    expect(story.say(2, 2, { epoch: 1 })).toEqual([{ type: 'dropped', reason: 'stale_epoch' }]);
    expect(story.say(2, 2)).toMatchObject([{ type: 'forward', data: story.bytes(2, 2) }]);
  });

  test('is decided once per migration id', () => {
    const story = Story.streaming();
    story.handOver({ toEpoch: 2 });
    expect(story.handOver({ toEpoch: 2 })).toEqual([]);
    expect(story.answer()).toMatchObject({ outcome: 'committed', epoch: 2 });
    expect(story.state.migrations).toBe(1);
  });

  test.each([
    ['comes with an epoch that has passed', { fromEpoch: 0, toEpoch: 2 }, 'stale_epoch'],
    ['would not raise the epoch', { toEpoch: 1 }, 'stale_epoch'],
    ['has fewer tokens than the client', { toEpoch: 2, nextIndex: 1 }, 'not_movable'],
  ])('is refused when it %s', (_what, command, code) => {
    const story = Story.streaming();
    story.say(0, 2);
    expect(story.handOver(command)).toEqual([]);
    expect(story.answer()).toMatchObject({ outcome: 'refused', epoch: 1, refusal: { code } });
  });

  test('is refused while the request recovers', () => {
    const story = Story.streaming();
    story.tell({ type: 'streamLost', epoch: 1, why: 'link_closed' });
    story.handOver({ toEpoch: 2 });
    expect(story.answer()).toMatchObject({ outcome: 'refused', refusal: { code: 'not_movable' } });
  });

  test('that is asked about before it arrives is refused for good', () => {
    const story = Story.streaming();
    story.tell({ type: 'handOverAsked', migrationId: 'm-1' });
    expect(story.handOver({ toEpoch: 2 })).toEqual([]);
    expect(story.answer()).toMatchObject({ outcome: 'refused', epoch: 1 });
  });

  test('by recompute sends the token log along', () => {
    const story = Story.streaming();
    story.say(0, 2);
    const effects = story.handOver({ toEpoch: 2, mode: 'recompute' });
    expect(effects[1]).toMatchObject({ type: 'open', reservationId: '', log: { length: 2 } });
  });

  test('to a target that then refuses goes on from the token log', () => {
    const story = Story.streaming();
    story.say(0, 2);
    story.handOver({ toEpoch: 2, nextIndex: 2 });
    const error = { code: 'unknown_reservation', message: 'expired', retryable: false, retryAfterMs: 0 };
    expect(story.say(2, 0, { error })).toMatchObject([{ type: 'cancel', epoch: 2 }, { event: 'failover' }, { type: 'ask', info: { epoch: 2 } }]);
  });

  test('remembers a bounded number of outcomes', () => {
    const story = Story.streaming();
    for (let number = 0; number < 50; number++) story.tell({ type: 'handOverAsked', migrationId: `old-${number}` });
    expect(story.state.handOvers).toHaveLength(limits.maxHandOvers);
  });
});

describe('the client', () => {
  test('that leaves while queued gives up its place', () => {
    const story = new Story();
    story.begin();
    expect(story.tell({ type: 'clientLeft' })).toMatchObject([
      { type: 'leaveQueue' },
      { type: 'done', ending: { outcome: 'aborted', code: 'client_left' } },
    ]);
    expect(story.admit(assigned(1))).toEqual([]);
  });

  test.each([
    ['is being opened', 0],
    ['runs', 2],
  ])('that leaves while the stream %s stops the engine', (_what, tokens) => {
    const story = Story.streaming();
    if (tokens) story.say(0, tokens);
    expect(story.tell({ type: 'clientLeft' })).toMatchObject([{ type: 'cancel', epoch: 1, reason: 'client_left' }, { type: 'done' }]);
    expect(story.state.log.length).toBe(tokens);
  });

  test('that leaves during recovery or a hand-over stops whoever was next', () => {
    const recovering = Story.streaming();
    recovering.tell({ type: 'streamLost', epoch: 1, why: 'link_closed' });
    expect(recovering.tell({ type: 'clientLeft' })).toMatchObject([{ type: 'leaveQueue' }, { type: 'done' }]);
    const moving = Story.streaming();
    moving.handOver({ toEpoch: 2 });
    expect(moving.tell({ type: 'clientLeft' })).toMatchObject([{ type: 'cancel', epoch: 2 }, { type: 'done' }]);
  });

  test('that reads too slowly is told so, and the engine stops', () => {
    const story = Story.streaming();
    story.say(0, 2);
    expect(story.tell({ type: 'clientTooSlow' })).toMatchObject([
      { type: 'cancel', reason: 'client_left' },
      { type: 'failClient', code: 'client_too_slow' },
      { type: 'done' },
    ]);
  });

  test('hears the end of a gateway that stops', () => {
    const story = Story.streaming();
    expect(story.tell({ type: 'cutShort' })).toMatchObject([{ type: 'cancel' }, { type: 'failClient', code: 'draining' }, { type: 'done' }]);
  });
});
