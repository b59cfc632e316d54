// What an engine adapter with `kv_export` or `kv_state` must do: both ends of moving a running sequence by its KV.
import { describe, expect, test } from 'vitest';
import { SequenceState } from '../../proto/gen/messages.ts';
import { copyStage, EngineRig, subjects } from './engine-rig.ts';

describe.each(subjects.filter(({ movesKv }) => movesKv))('KV of engine adapter $name', (subject) => {
  const move = { requestId: 'r', reservationId: 'm', transferToken: '' };
  const outputTokens = subject.movedTokens;

  /** A sequence in decode, a target with a reservation for it, and what it would have said. */
  async function moving() {
    const time = subject.start();
    const [source, target] = [await EngineRig.start(subject, time), await EngineRig.start(subject, time)];
    const { supports } = source.engine;
    if (!supports.has('kv_export') && !supports.has('kv_state')) throw new Error(`${subject.name} moves no KV: leave it out of this suite`);
    source.open('reference', { max_tokens: outputTokens });
    const reference = await source.ended('reference');
    source.open('r', { max_tokens: outputTokens });
    await time.until(() => source.stream('r').ids.length >= 10);
    const freeBefore = target.free;
    const reserved = target.kv.reserve({ ...reservation, transferToken: 'token' });
    if ('code' in reserved) throw new Error(reserved.code);
    return { time, source, target, reference, freeBefore, plan: { ...move, transferToken: reserved.transferToken } };
  }
  const reservation = { reservationId: 'm', requestId: 'r', epoch: 2, blocks: 12, ttlMs: 5_000, purpose: 'migration' } as const;

  function takeOver(target: EngineRig, nextIndex: number, more: object = {}) {
    return target.open('r', {}, { epoch: 2, reservationId: 'm', body: new Uint8Array(0), nextIndex, ...more });
  }

  test('a sequence goes on elsewhere, token by token the same, and nothing is left on either side', async () => {
    const { time, source, target, reference, freeBefore, plan } = await moving();
    const first = await copyStage(source, target, plan);
    expect(first).toMatchObject({ missing: [] });
    await time.pass(30);
    const last = await copyStage(source, target, { ...plan, last: true });
    if ('code' in last) throw new Error(last.code);
    expect(last.missing).toEqual([]);
    expect(last.stage.nextIndex).toBe(source.stream('r').ids.length);
    const said = source.stream('r').ids.length;
    await time.pass(100);
    expect(source.stream('r').ids).toHaveLength(said);
    // The gateway has two tokens less than the source has said.
    const known = source.stream('r').ids.slice(0, said - 2);
    target.stream('r', 2).ids.push(...known);
    expect(takeOver(target, known.length)).toBeUndefined();
    expect(source.kv.release('r', 1, true)).toBeUndefined();
    const moved = await target.ended('r', 2);
    expect([moved.gaps, moved.ids]).toEqual([0, reference.ids]);
    expect(moved.end!.usage).toMatchObject({ outputTokens });
    expect(source.engine.size + target.engine.size).toBe(0);
    expect([source.free, target.free]).toEqual([source.engine.status().totalBlocks, freeBefore]);
    expect(source.lifecycle.map((event) => event.type)).toEqual(expect.arrayContaining(['paused', 'released']));
    await source.engine.close();
    await target.engine.close();
  });

  test('a target that follows has computed what the source says meanwhile, and goes on the same', async () => {
    const { time, source, target, reference, plan } = await moving();
    if (!source.engine.supports.has('kv_state')) return;
    const first = await copyStage(source, target, plan);
    if ('code' in first) throw new Error(first.code);
    expect(first.stage.confirmed()).toEqual({ blocksRemaining: expect.any(Number) });
    const incoming = target.kv.incoming('m', plan.transferToken);
    if ('code' in incoming) throw new Error(incoming.code);
    // Some of them are lost, some come twice.
    let sent = 0;
    first.stage.tail!((firstIndex, tokenIds) => {
      if (++sent % 7 === 0) return;
      incoming.follow!(firstIndex, tokenIds);
      if (sent % 5 === 0) incoming.follow!(firstIndex, tokenIds);
    });
    await time.until(() => sent > 30);
    const last = await copyStage(source, target, { ...plan, last: true });
    if ('code' in last) throw new Error(last.code);
    expect([last.stage.blocks, last.missing]).toEqual([[], []]);
    const sentBefore = sent;
    target.stream('r', 2).ids.push(...source.stream('r').ids);
    expect(takeOver(target, source.stream('r').ids.length)).toBeUndefined();
    source.kv.release('r', 1, true);
    const moved = await target.ended('r', 2);
    expect([moved.gaps, moved.ids, sent]).toEqual([0, reference.ids, sentBefore]);
    // The target computed no prompt: what it was sent, and what it followed.
    expect(target.engine.status().tokensIn).toBeLessThan(last.stage.nextIndex);
  });

  test('not committed, the source goes on as if nothing had been; the target gives the blocks back', async () => {
    const { source, target, reference, freeBefore, plan } = await moving();
    await copyStage(source, target, { ...plan, last: true });
    source.kv.release('r', 2, true);
    source.kv.release('nobody', 1, true);
    for (const _repeat of [1, 2]) expect(source.kv.release('r', 1, false)).toBeUndefined();
    target.kv.dropReservation('m');
    target.kv.dropReservation('m');
    expect(target.free).toBe(freeBefore);
    expect((await source.ended('r')).ids).toEqual(reference.ids);
  });

  test('a source that nobody releases resumes by itself; a reservation that nobody takes over expires', async () => {
    const { time, source, target, reference, freeBefore, plan } = await moving();
    await copyStage(source, target, { ...plan, last: true, pauseLeaseMs: 200 });
    const said = source.stream('r').ids.length;
    await time.pass(150);
    expect(source.stream('r').ids).toHaveLength(said);
    expect((await source.ended('r')).ids).toEqual(reference.ids);
    await time.pass(6_000);
    expect(target.free).toBe(freeBefore);
    expect(takeOver(target, said)).toMatchObject({ code: 'reservation_expired' });
  });

  test('what has not arrived is named, and is not taken over', async () => {
    const { source, target, plan } = await moving();
    expect(await copyStage(source, target, { ...plan, last: true }, (block) => block === 0)).toMatchObject({ missing: [0] });
    expect(takeOver(target, 0)).toMatchObject({ code: 'transfer_failed' });
    expect(await copyStage(source, target, { ...plan, last: true })).toMatchObject({ missing: [] });
    expect(takeOver(target, source.stream('r').ids.length)).toBeUndefined();
  });

  test('a state that says fewer tokens than its KV has is refused, and nothing of it is left', async () => {
    const { source, target, freeBefore, plan } = await moving();
    if (!source.engine.supports.has('kv_export')) return;
    const shortened = (state: Uint8Array) => SequenceState.encode({ ...SequenceState.decode(state), outputTokenIds: [] });
    const refused = await copyStage(source, target, { ...plan, last: true }, undefined, shortened);
    expect(refused).toMatchObject({ code: 'invalid_request' });
    expect(takeOver(target, 0)).toMatchObject({ code: 'transfer_failed' });
    target.kv.dropReservation('m');
    expect(target.free).toBe(freeBefore);
    await target.engine.close();
  });

  test('a reservation is idempotent, for its own epoch, and only for who holds its token', async () => {
    const { source, target, plan } = await moving();
    const free = target.free;
    expect(target.kv.reserve({ ...reservation, transferToken: 'another' })).toEqual({ transferToken: 'token' });
    expect(target.free).toBe(free);
    expect(target.kv.incoming('m', 'wrong')).toMatchObject({ code: 'permission_denied' });
    expect(target.kv.incoming('unknown', 'token')).toMatchObject({ code: 'unknown_reservation' });
    await copyStage(source, target, { ...plan, last: true });
    expect(takeOver(target, 0, { epoch: 3 })).toMatchObject({ code: 'stale_epoch' });
    const huge = { ...reservation, reservationId: 'huge', blocks: target.engine.status().totalBlocks + 1, transferToken: 't' };
    expect(target.kv.reserve(huge)).toMatchObject({ code: 'target_full', retryable: true });
  });

  test('what is not there, has ended, or has another epoch cannot be copied', async () => {
    const { time, source, target } = await moving();
    const begin = async (requestId: string, epoch: number) => {
      let begun: unknown;
      void source.kv.beginStage({ requestId, epoch, reservationId: 'm', last: false, pauseLeaseMs: 100 }).then((stage) => {
        begun = stage;
      });
      await time.until(() => begun !== undefined);
      return begun;
    };
    expect(await begin('nobody', 1)).toMatchObject({ code: 'unknown_request' });
    expect(await begin('r', 7)).toMatchObject({ code: 'stale_epoch' });
    await source.ended('r');
    expect(await begin('r', 1)).toMatchObject({ code: 'sequence_finished' });
    await target.engine.close();
  });

  test('a sequence that is cancelled while it is copied gives no bytes any more', async () => {
    const { source, target, plan } = await moving();
    const copied = await copyStage(source, target, plan);
    if ('code' in copied) throw new Error(copied.code);
    source.engine.cancel('r', 1);
    expect(() => copied.stage.read(0, 0, 8)).toThrow();
    expect(copied.stage.confirmed()).toHaveProperty('code');
  });
});
