import { beforeEach, describe, expect, test } from 'vitest';
import { refusal, SwitchyardError } from '../../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../../proto/gen/messages.ts';
import { VirtualClock } from '../../../clock/virtual-clock.ts';
import type { EngineEvent, GenerateRequest, StageSource, StageTarget } from '../../../ports/engines.ts';
import type { Fields } from '../client.ts';
import type { HandOverWay } from './hand-over-way.ts';
import type { Stopped } from './moved-state.ts';
import { type MovingHost, ServerKv, type TakenOver } from './server-kv.ts';

const noBytes = new Uint8Array(0);
const told = (index: number, tokenIds: number[]): EngineEvent => ({
  ...{ requestId: 'r', epoch: 1, index, tokenIds, text: `t${index}`, data: Buffer.from(`data: ${index}\n\n`), finishReason: '', finalBody: noBytes },
});
const request = (more: Partial<GenerateRequest> = {}): GenerateRequest => ({
  ...{ requestId: 'r', epoch: 1, endpoint: 'chat', body: Buffer.from('{}'), clientStreams: true, resumeTokenIds: [], resumeText: '' },
  ...{ reservationId: '', priority: 3, arrivalMs: 1, createdS: 2, includeUsage: true, gatewayId: 'g', traceparent: '', nextIndex: 0 },
  ...{ maxOutputTokens: 100, promptTokens: 3, serviceTier: '', keyId: 'k', sloClass: 'standard', ...more },
});
const carry = { answerId: 'a', createdS: 2, model: 'm', promptTokens: 3, promptCrc: 7, phase: 'answer' as const };
const stopped: Stopped = {
  ...{
    request: request(),
    promptIds: [1, 2, 3],
    outputIds: [4, 5, 6, 7],
    carry,
    cachedTokens: 1,
    told: [told(0, [4]), told(1, [5, 6]), told(3, [7])],
  },
};

let clock: VirtualClock;
let calls: string[];
let given: () => Promise<Fields | Refusal>;
let room: number;

function side(name: string, way: Partial<HandOverWay> = {}): ServerKv {
  const host: MovingHost = {
    clock,
    model: 'm',
    whyNot: (requestId) => (requestId === 'r' ? undefined : refusal('unknown_request', `${requestId} is not here`)),
    stop: () => {
      calls.push(`${name} stops`);
      return stopped;
    },
    promptIds: async () => [1, 2, 3],
    goOn: () => void calls.push(`${name} goes on`),
    end: () => void calls.push(`${name} ends`),
    running: () => 0,
    maxRunning: () => room,
    changed() {},
  };
  return new ServerKv(host, {
    give: () => given(),
    take: async (note) => ({ extra: { from: note } }),
    forget: () => void calls.push(`${name} forgets`),
    ...way,
  });
}

const last = { requestId: 'r', epoch: 1, reservationId: 'v', last: true, pauseLeaseMs: 1_000 };
const reservation = { reservationId: 'v', requestId: 'r', epoch: 2, blocks: 1, ttlMs: 5_000, purpose: 'migration' as const, transferToken: 't' };

beforeEach(() => {
  clock = new VirtualClock();
  calls = [];
  given = async () => ({ place: 1 });
  room = 4;
});

describe('a request that moves between two servers', () => {
  test('is stopped, given away, and taken over with all its tokens and what the gateway may have missed', async () => {
    const [source, target] = [side('source'), side('target')];
    expect(target.reserve(reservation)).toEqual({ transferToken: 't' });
    const stage = (await source.beginStage(last)) as StageSource;
    expect(stage).toMatchObject({ blocks: [], versions: [], nextIndex: 4 });
    expect(stage.confirmed()).toEqual({ blocksRemaining: 0 });
    expect(await (target.incoming('v', 't') as StageTarget).commit([], true, stage.state)).toEqual({ missing: [] });
    const taken = target.takeOver(request({ epoch: 2, reservationId: 'v', body: noBytes, nextIndex: 1 }));
    expect(taken).toMatchObject({ promptIds: [1, 2, 3], extra: { from: { place: 1 } } });
    expect(taken).toMatchObject({ request: { epoch: 2, resumeTokenIds: [4, 5, 6, 7], nextIndex: 4, priority: 3, carry } });
    expect((taken as TakenOver).told.map(({ index, tokenIds, data }) => [index, tokenIds, Buffer.from(data).toString()])).toEqual([
      [1, [5, 6], 'data: 1\n\n'],
      [3, [7], 'data: 3\n\n'],
    ]);
    source.release('r', 1, true);
    source.release('r', 1, false);
    await clock.advance(10_000);
    expect(calls).toEqual(['source stops', 'source ends']);
  });

  test('goes on where it was when nothing comes of it: told so, after the lease, or when its server gives nothing', async () => {
    const source = side('source');
    await source.beginStage(last);
    source.release('r', 1, false);
    expect(calls.splice(0)).toEqual(['source stops', 'source forgets', 'source goes on']);
    await source.beginStage(last);
    await clock.advance(1_001);
    expect(calls.splice(0)).toEqual(['source stops', 'source forgets', 'source goes on']);
    given = async () => refusal('transfer_failed', 'no connector');
    expect(await source.beginStage(last)).toMatchObject({ code: 'transfer_failed' });
    expect(calls.splice(0)).toEqual(['source stops', 'source goes on']);
    given = async () => Promise.reject(new SwitchyardError('timeout', 'silent'));
    expect(await source.beginStage(last)).toMatchObject({ code: 'transfer_failed', message: 'silent' });
    expect(calls.splice(0)).toEqual(['source stops', 'source goes on']);
  });

  test('is stopped once however often it is asked, and by one reservation at a time', async () => {
    const source = side('source');
    const [one, two] = await Promise.all([source.beginStage(last), source.beginStage(last)]);
    expect(one).toBe(two);
    expect(calls).toEqual(['source stops']);
    expect(await source.beginStage({ ...last, reservationId: 'w' })).toMatchObject({ code: 'not_movable' });
    expect(await source.beginStage({ ...last, requestId: 'other' })).toMatchObject({ code: 'unknown_request' });
  });

  test('that is released while its server is still giving it away goes on, and what was given is forgotten', async () => {
    let give: (note: Fields) => void = () => {};
    given = () => new Promise((resolve) => (give = resolve));
    const source = side('source');
    const stage = source.beginStage(last);
    source.release('r', 1, false);
    give({ place: 1 });
    expect(await stage).toMatchObject({ code: 'cancelled' });
    expect(calls).toEqual(['source stops', 'source goes on', 'source forgets']);
  });

  test('nothing goes ahead of the last stage', async () => {
    expect(await side('source').beginStage({ ...last, last: false })).toMatchObject({ blocks: [], versions: [] });
    expect(calls).toEqual([]);
  });
});

describe('a target', () => {
  test('refuses what does not belong to a reservation, or is not there yet', async () => {
    const target = side('target');
    target.reserve(reservation);
    const take = (more: Partial<GenerateRequest>) => target.takeOver(request({ epoch: 2, reservationId: 'v', ...more }));
    expect(target.incoming('v', 'wrong')).toMatchObject({ code: 'permission_denied' });
    expect(target.incoming('w', 't')).toMatchObject({ code: 'unknown_reservation' });
    expect([take({ requestId: 'x' }), take({ epoch: 3 }), take({})].map((why) => (why as Refusal).code)).toEqual([
      'unknown_reservation',
      'stale_epoch',
      'transfer_failed',
    ]);
    const incoming = target.incoming('v', 't') as StageTarget;
    expect(await incoming.commit([], true, Buffer.from([1, 2, 3]))).toMatchObject({ code: 'invalid_request' });
    expect(incoming.write({ block: 0, offset: 0, blockBytes: 1, version: 1, payload: noBytes })).toMatchObject({ code: 'invalid_request' });
    const { state } = (await side('source').beginStage(last)) as StageSource;
    await incoming.commit([], true, state);
    // In the middle of an event, and before all that is kept.
    expect([take({ nextIndex: 2 }), take({ nextIndex: 9 })].map((why) => (why as Refusal).code)).toEqual(['transfer_failed', 'transfer_failed']);
    await clock.advance(5_001);
    expect([take({}), target.incoming('v', 't')].map((why) => (why as Refusal).code)).toEqual(['reservation_expired', 'reservation_expired']);
    expect(calls).toContain('target forgets');
  });

  test('takes no more than its server does', () => {
    room = 1;
    const target = side('target');
    expect(target.reserve(reservation)).toEqual({ transferToken: 't' });
    expect(target.reserve({ ...reservation, transferToken: 'u' })).toEqual({ transferToken: 't' });
    expect(target.reserve({ ...reservation, reservationId: 'w' })).toMatchObject({ code: 'target_full' });
    target.dropReservation('v');
    expect(target.reserve({ ...reservation, reservationId: 'w' })).toEqual({ transferToken: 't' });
    expect(target.reserve({ ...reservation, reservationId: 'x', purpose: 'cache' })).toMatchObject({ code: 'invalid_request' });
  });

  test('whose server cannot use what was given refuses the stage', async () => {
    const target = side('target', { take: async () => refusal('transfer_failed', 'no such slot') });
    target.reserve(reservation);
    const { state } = (await side('source').beginStage(last)) as StageSource;
    expect(await (target.incoming('v', 't') as StageTarget).commit([], true, state)).toMatchObject({ code: 'transfer_failed' });
  });
});
