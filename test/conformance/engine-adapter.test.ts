// What every engine adapter must do, whatever its engine: streams, limits, cancels, slow readers, continuation, status.
// Moving sequences by their KV blocks is in engine-kv.test.ts.
import { describe, expect, test } from 'vitest';
import { refusal } from '../../core/errors/switchyard-error.ts';
import { EngineRig, subjects } from './engine-rig.ts';

describe.each(subjects)('engine adapter $name', (subject) => {
  const start = () => EngineRig.start(subject);

  describe('a stream', () => {
    test('says its tokens once and in order, as chunks of which the client makes the same text, and its usage at the end', async () => {
      const rig = await start();
      expect(rig.open('r', { max_tokens: 12 })).toBeUndefined();
      const heard = await rig.ended('r');
      expect(heard).toMatchObject({ gaps: 0, end: { finishReason: 'length', usage: { outputTokens: 12 } } });
      expect(heard.ids).toHaveLength(12);
      expect(heard.end!.usage!.promptTokens).toBeGreaterThan(0);
      expect(heard.shown).toBe(heard.text);
      expect(heard.text).not.toBe('');
      expect(heard.end!.finalBody).toHaveLength(0);
      expect(heard.data).not.toContain('[DONE]');
      expect(heard.chunks.every((chunk) => chunk.id === subject.answerId('r', heard.chunks[0].id) && chunk.created === 1_700_000_000)).toBe(true);
      expect(heard.chunks.at(-1)).toMatchObject({ choices: [{ finish_reason: 'length' }] });
      expect(rig.engine.size).toBe(0);
      expect(rig.lifecycle.map((event) => event.type)).toEqual(['admitted']);
    });

    test('has a chunk with its usage when the client asked for it', async () => {
      const rig = await start();
      rig.open('r', { max_tokens: 3 }, { includeUsage: true });
      expect((await rig.ended('r')).chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 3 } });
    });

    test('of a client that does not stream is one body with the same text', async () => {
      const rig = await start();
      rig.open('streamed', { max_tokens: 8 });
      rig.open('whole', { max_tokens: 8 }, { clientStreams: false });
      const [streamed, whole] = [await rig.ended('streamed'), await rig.ended('whole')];
      expect(whole.data).toBe('');
      expect(JSON.parse(Buffer.from(whole.end!.finalBody).toString())).toMatchObject({
        id: subject.answerId('whole', JSON.parse(Buffer.from(whole.end!.finalBody).toString()).id),
        choices: [{ message: { role: 'assistant', content: streamed.text }, finish_reason: 'length' }],
        usage: { completion_tokens: 8 },
      });
    });

    test('never exceeds the limit that the gateway sets', async () => {
      const rig = await start();
      rig.open('r', { max_tokens: 30 }, { maxOutputTokens: 5 });
      expect((await rig.ended('r')).ids).toHaveLength(5);
    });

    test('shows nothing of a stop string, and ends for it', async () => {
      const rig = await start();
      rig.open('free', { max_tokens: 12 });
      const { text } = await rig.ended('free');
      const stop = text.slice(15, 26);
      rig.open('stopped', { max_tokens: 12, stop: [stop] });
      const heard = await rig.ended('stopped');
      expect([heard.shown, heard.end!.finishReason]).toEqual([text.slice(0, text.indexOf(stop)), 'stop']);
    });

    test('shares its steps: tokens of sequences that run together are told together', async () => {
      const rig = await start();
      for (const id of ['a', 'b', 'c']) rig.open(id, { max_tokens: 20 });
      for (const id of ['a', 'b', 'c']) expect(await rig.ended(id)).toMatchObject({ gaps: 0 });
      expect(rig.calls.some((call) => call.length === 3)).toBe(true);
      expect(rig.calls.every((call) => new Set(call).size === call.length)).toBe(true);
    });

    test('beyond the batch waits, and comes to the same', async () => {
      const rig = await start();
      const ids = Array.from({ length: 8 }, (_, index) => `r${index}`);
      for (const id of ids) expect(rig.open(id, { max_tokens: 10 })).toBeUndefined();
      await rig.time.until(() => rig.engine.status().running === 4);
      expect(rig.engine.status().waiting).toBe(4);
      const texts = [];
      for (const id of ids) texts.push((await rig.ended(id)).text);
      expect(new Set(texts).size).toBe(1);
    });
  });

  test.each([
    ['a body that is no JSON', { body: Buffer.from('{') }, 'invalid_json'],
    ['a body without messages', { body: Buffer.from('{}') }, 'invalid_request'],
    [
      'a prompt that is too long',
      { body: Buffer.from(JSON.stringify({ messages: [{ role: 'user', content: 'word '.repeat(2_000) }] })) },
      'context_length_exceeded',
    ],
  ])('%s is refused, for good', async (_what, more, code) => {
    const rig = await start();
    expect(await rig.refused('r', {}, more)).toMatchObject({ code, retryable: false });
    expect(rig.engine.size).toBe(0);
  });

  test('a full queue is refused for now', async () => {
    const rig = await start();
    const answers = Array.from({ length: 20 }, (_, index) => rig.open(`r${index}`, { max_tokens: 50 }));
    expect(answers.filter((answer) => answer === undefined).length).toBeGreaterThanOrEqual(4);
    expect(answers.at(-1)).toMatchObject({ code: 'queue_full', retryable: true });
  });

  describe('cancelling', () => {
    test.each([
      ['waiting', 'y', async () => {}],
      ['in prefill', 'x', async (rig: EngineRig) => rig.time.pass(1)],
      ['in decode', 'x', async (rig: EngineRig) => rig.time.until(() => rig.stream('x').ids.length > 3)],
    ])('frees what is %s, and nothing is said any more', async (_stage, cancelled, reach) => {
      const rig = await start();
      const freeBefore = rig.free;
      rig.open('x', { max_tokens: 100 });
      if (cancelled === 'y') for (const id of ['1', '2', '3', 'y']) rig.open(id, { max_tokens: 100 });
      await reach(rig);
      const said = rig.stream(cancelled).ids.length;
      rig.engine.cancel(cancelled, 1);
      const others = rig.engine.size;
      expect(rig.engine.status().sequences.map((sequence) => sequence.requestId)).not.toContain(cancelled);
      await rig.time.pass(subject.cancelWithinMs);
      expect([rig.stream(cancelled).ids.length, rig.stream(cancelled).end]).toEqual([said, undefined]);
      if (others === 0) expect(rig.engine.status()).toMatchObject({ running: 0, waiting: 0, freeBlocks: freeBefore });
      await rig.engine.close();
    });

    test('under another epoch, twice, or of an unknown request changes nothing', async () => {
      const rig = await start();
      rig.open('r', { max_tokens: 10 });
      rig.engine.cancel('r', 2);
      rig.engine.cancel('nobody', 1);
      expect((await rig.ended('r')).ids).toHaveLength(10);
      rig.engine.cancel('r', 1);
    });
  });

  test('a held sequence keeps its place and says nothing; let go, it says the rest', async () => {
    const rig = await start();
    rig.open('other', { max_tokens: 100 });
    rig.open('r', { max_tokens: 20 });
    const heard = rig.stream('r');
    await rig.time.until(() => heard.ids.length > 3);
    rig.engine.hold('r', 1, true);
    await rig.time.pass(50);
    const said = heard.ids.length;
    await rig.time.pass(200);
    expect([heard.ids.length, rig.engine.size > 0]).toEqual([said, true]);
    rig.engine.hold('r', 1, false);
    expect((await rig.ended('r')).ids).toHaveLength(20);
    rig.open('held from the start', { max_tokens: 5 }, {}, true);
    await rig.time.pass(200);
    expect(rig.stream('held from the start').ids).toHaveLength(0);
    rig.engine.hold('held from the start', 1, false);
    expect((await rig.ended('held from the start')).gaps).toBe(0);
  });

  test('a request is continued from its token log, token by token the same, with no second role', async () => {
    const rig = await start();
    if (!rig.engine.supports.has('recompute')) return;
    rig.open('whole', { max_tokens: 16 });
    const whole = await rig.ended('whole');
    for (const cut of [1, 7, 15, 16]) {
      const resumeTokenIds = whole.ids.slice(0, cut);
      const resumeText = whole.chunks
        .map((chunk) => chunk.choices[0]?.delta?.content ?? '')
        .filter((content) => content !== '')
        .slice(0, cut)
        .join('');
      rig.stream('rest', cut).ids.push(...resumeTokenIds);
      expect(rig.open('rest', { max_tokens: 16 }, { epoch: cut, resumeTokenIds, resumeText, nextIndex: cut })).toBeUndefined();
      const rest = await rig.ended('rest', cut);
      expect([rest.gaps, rest.ids, resumeText + rest.shown]).toEqual([0, whole.ids, whole.text]);
      expect(rest.data).not.toContain('"role"');
      expect(rest.end).toMatchObject({ finishReason: 'length', usage: { outputTokens: 16 } });
    }
  });

  test('its status says what it holds, and that something has changed is told', async () => {
    const rig = await start();
    const idle = rig.engine.status();
    expect(idle).toMatchObject({ running: 0, waiting: 0, sequences: [], reservedBlocks: 0, waitingBlocks: 0 });
    expect(idle.freeBlocks).toBe(idle.totalBlocks);
    expect([idle.blockTokens, idle.maxRunning, idle.maxContextTokens].every((size) => size > 0)).toBe(true);
    const changesBefore = rig.changes();
    rig.open('r', { max_tokens: 20 }, { priority: 3, traceparent: 'trace' });
    await rig.time.until(() => rig.stream('r').ids.length > 5);
    expect(rig.changes()).toBeGreaterThan(changesBefore);
    const busy = rig.engine.status();
    expect(busy.sequences).toMatchObject([{ requestId: 'r', state: 'decode', priority: 3, epoch: 1, gatewayId: 'gateway-1', traceparent: 'trace' }]);
    expect(busy.sequences[0]!.outputTokens).toBe(rig.stream('r').ids.length);
    expect(busy.freeBlocks + busy.sequences[0]!.blocks).toBeLessThanOrEqual(busy.totalBlocks);
    expect([busy.steps > 0, busy.tokensIn > 0, busy.tokensOut]).toEqual([true, true, rig.stream('r').ids.length]);
    const changesRunning = rig.changes();
    await rig.ended('r');
    expect(rig.changes()).toBeGreaterThan(changesRunning);
    expect(rig.engine.status()).toMatchObject({ running: 0, sequences: [], freeBlocks: idle.totalBlocks });
  });

  test('well, it gives a token to a probe, and shows nothing of it', async () => {
    const rig = await start();
    expect(await rig.probed()).toBeUndefined();
    expect(rig.engine.status()).toMatchObject({ running: 0, waiting: 0, sequences: [] });
  });

  test('that pretends to fail answers so to what is new and to probes, and goes on with what it has', async () => {
    const rig = await start();
    if (!rig.engine.pretend) return;
    rig.open('old', { max_tokens: 5 });
    rig.engine.pretend(refusal('engine_unavailable', 'the engine answers 503'));
    expect(rig.open('new')).toMatchObject({ code: 'engine_unavailable', retryable: true });
    expect(await rig.engine.probe()).toMatchObject({ code: 'engine_unavailable' });
    expect((await rig.ended('old')).ids).toHaveLength(5);
    rig.engine.pretend(undefined);
    expect(rig.open('new', { max_tokens: 2 })).toBeUndefined();
    expect((await rig.ended('new')).ids).toHaveLength(2);
  });

  test('closed, it says nothing more and takes nothing', async () => {
    const rig = await start();
    rig.open('r', { max_tokens: 50 });
    await rig.time.until(() => rig.stream('r').ids.length > 2);
    await rig.engine.close();
    const said = rig.stream('r').ids.length;
    await rig.time.pass(500);
    expect([rig.stream('r').ids.length, rig.engine.size]).toEqual([said, 0]);
    expect(rig.open('late')).toMatchObject({ code: 'draining', retryable: true });
  });
});
