// What the client sees, and who is told, when something fails, leaves, moves or comes late.
import { describe, expect, test } from 'vitest';
import { refusal } from '../../core/errors/switchyard-error.ts';
import * as contracts from '../../lib/contracts.ts';
import type { HandOverCommand, HandOverReply } from '../../proto/gen/messages.ts';
import { type Client, ScriptedFleet } from './scripted-fleet.ts';

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);

/** A streaming request that chat-1 has given the first `tokens` tokens of. */
async function streaming(
  tokens: number,
  config: Record<string, unknown> = {},
  fields: object = {},
): Promise<{ fleet: ScriptedFleet; client: Client }> {
  const fleet = await ScriptedFleet.start(config);
  const client = fleet.chat(fields);
  await fleet.until(() => fleet.agents[0]!.opens.length === 1);
  for (let index = 0; index < tokens; index++) fleet.agents[0]!.say(index, 1);
  await fleet.until(() => client.tokens.length === tokens);
  return { fleet, client };
}

async function handOver(fleet: ScriptedFleet, command: Partial<HandOverCommand> = {}): Promise<HandOverReply> {
  const target = fleet.agents[1]!;
  const question = fleet.world.ports('worker-1').bus.request(
    contracts.handOver,
    ['gateway-1'],
    {
      requestId: fleet.asked[0]!.requestId,
      migrationId: 'm-1',
      fromEpoch: 1,
      toEpoch: 2,
      instanceId: target.name,
      address: target.address,
      reservationId: 'res-1',
      mode: 'copy',
      nextIndex: 5,
      ...command,
    },
    { timeoutMs: 1_000 },
  );
  return fleet.settled(question);
}

describe('an instance that fails', () => {
  test('leaves the next one the whole of a large body, whose memory is given back when the request ends', async () => {
    const fleet = await ScriptedFleet.start();
    const [first, second] = fleet.agents;
    const messages = (letter: string) => [{ role: 'user', content: letter.repeat(100_000) }];
    const fallen = fleet.chat({ messages: messages('x'), stream: false });
    const well = fleet.chat({ messages: messages('y'), stream: false });
    await fleet.until(() => first!.opens.length === 2);
    const [one, other] = first!.opens;
    first!.say(0, 0, { error: { code: 'engine_error', message: 'broken', retryable: true, retryAfterMs: 0 } }, one);
    await fleet.until(() => second!.opens.length === 1);
    expect(Buffer.compare(second!.opens[0]!.body, one!.body)).toBe(0);
    first!.finish(0, 1, {}, other);
    second!.finish(0, 1);
    await fleet.until(() => well.ended && fallen.ended);
    expect([well.status, fallen.status]).toEqual([200, 200]);
  });

  test('in mid-stream: the stream continues elsewhere from the token log', async () => {
    const { fleet, client } = await streaming(3);
    const [first, second] = fleet.agents;
    fleet.world.net.cut(first!.address);
    await fleet.until(() => second!.opens.length === 1);
    expect(second!.opens[0]).toMatchObject({ epoch: 2, resumeTokenIds: [0, 1, 2], resumeText: 't0 t1 t2 ', nextIndex: 3 });
    expect(second!.opens[0]!.body.length).toBeGreaterThan(0);
    expect(fleet.asked[1]).toMatchObject({ epoch: 1, generatedTokens: 3, avoidInstances: ['chat-1'] });
    second!.say(3, 1);
    second!.finish(4, 1);
    await fleet.until(() => client.ended);
    expect(client.tokens).toEqual(upTo(5));
    expect(client.text.endsWith('data: [DONE]\n\n')).toBe(true);
    await fleet.until(() => fleet.done.length === 1);
    expect(fleet.done[0]).toMatchObject({ outcome: 'completed', failovers: 1, instanceId: 'chat-2', epoch: 2, outputTokens: 5 });
  });

  test('before the first byte: the client notices nothing but time', async () => {
    const { fleet, client } = await streaming(0);
    fleet.world.net.cut(fleet.agents[0]!.address);
    await fleet.until(() => fleet.agents[1]!.opens.length === 1);
    expect(client.status).toBe(0);
    fleet.agents[1]!.finish(0, 2);
    await fleet.until(() => client.ended);
    expect(client.status).toBe(200);
    expect(client.tokens).toEqual(upTo(2));
  });

  test('turns requests away: they are tried elsewhere within the budget, and after it the client is told when to come back', async () => {
    const fleet = await ScriptedFleet.start({ retryShare: 0.5, retryBurst: 2 });
    for (const agent of fleet.agents) agent.turnsAway = refusal('engine_overloaded', 'the engine answers 429', 400);
    const clients: Client[] = [];
    for (let number = 0; number < 20; number++) {
      const client = fleet.chat();
      clients.push(client);
      await fleet.until(() => client.ended);
    }
    // The share of the first one finds the budget full.
    expect(fleet.agents.flatMap((agent) => agent.opens)).toHaveLength(20 + 2 + Math.floor(19 / 2));
    for (const { status, headers, error } of clients) {
      expect([status, error.code, headers['retry-after-ms'], headers['x-should-retry']]).toEqual([429, 'engine_overloaded', '400', 'true']);
    }
  });

  test('and is gone is avoided by whatever comes after, before anybody says that it is dead', async () => {
    const fleet = await ScriptedFleet.start();
    fleet.publishFleet();
    await fleet.until(() => fleet.agents.every((agent) => agent.hellos === 1));
    fleet.world.net.cut(fleet.agents[0]!.address);
    await fleet.world.clock.advance(1);
    fleet.chat();
    await fleet.until(() => fleet.agents[1]!.opens.length === 1);
    expect(fleet.asked.map(({ avoidInstances }) => avoidInstances)).toEqual([['chat-1']]);
  });

  test('cannot be reached at all', async () => {
    const fleet = await ScriptedFleet.start();
    fleet.world.net.cut(fleet.agents[0]!.address);
    const client = fleet.chat();
    await fleet.until(() => fleet.agents[1]!.opens.length === 1);
    fleet.agents[1]!.finish(0, 1);
    await fleet.until(() => client.ended);
    expect(client.tokens).toEqual([0]);
  });

  test('stalls: what it says afterwards does not count', async () => {
    const { fleet, client } = await streaming(2, { stallMs: 5_000 });
    const [first, second] = fleet.agents;
    const stalled = first!.opens[0]!;
    await fleet.until(() => second!.opens.length === 1, 6_000);
    expect(first!.cancels).toMatchObject([{ epoch: 1, reason: 'superseded' }]);
    second!.say(2, 1);
    first!.say(2, 3, {}, stalled);
    second!.finish(3, 1);
    await fleet.until(() => client.ended);
    expect(client.tokens).toEqual(upTo(4));
    expect(fleet.world.telemetryOf('gateway-1').value('switchyard_tokens_dropped_total', { reason: 'unknown' })).toBe(1);
  });

  test('is declared dead by the tracker while its link hangs', async () => {
    const { fleet, client } = await streaming(2);
    fleet.publishFleet({ 'chat-1': 'dead' });
    await fleet.until(() => fleet.agents[1]!.opens.length === 1);
    fleet.agents[1]!.finish(2, 1);
    await fleet.until(() => client.ended);
    expect(client.tokens).toEqual(upTo(3));
  });

  test('skips a token: it is not trusted any more', async () => {
    const { fleet, client } = await streaming(2);
    fleet.agents[0]!.say(3, 1);
    await fleet.until(() => fleet.agents[1]!.opens.length === 1);
    fleet.agents[1]!.finish(2, 2);
    await fleet.until(() => client.ended);
    expect(client.tokens).toEqual(upTo(4));
  });

  test('repeats a token: the client gets it once', async () => {
    const { fleet, client } = await streaming(3);
    fleet.agents[0]!.say(1, 2);
    fleet.agents[0]!.finish(3, 1);
    await fleet.until(() => client.ended);
    expect(client.tokens).toEqual(upTo(4));
  });

  test('sends something that is not a frame: its link is given up', async () => {
    const { fleet, client } = await streaming(1);
    fleet.agents[0]!.connections[0]!.send(Uint8Array.from([0xff, 0xff, 0xff, 0xff]));
    await fleet.until(() => fleet.agents[1]!.opens.length === 1);
    fleet.agents[1]!.finish(1, 1);
    await fleet.until(() => client.ended);
    expect(client.tokens).toEqual(upTo(2));
  });

  test('with nobody to continue: an error event, no [DONE], never a silent end', async () => {
    const { fleet, client } = await streaming(1, { recoverMs: 2_000 });
    fleet.admission = () => ({ outcome: 'refused', refusal: { code: 'no_instance', message: 'none left', retryable: true, retryAfterMs: 0 } });
    fleet.world.net.cut(fleet.agents[0]!.address);
    await fleet.until(() => client.ended);
    expect(client.text).toMatch(
      /data: \{"error":\{"message":"[^"]*none left","type":"server_error","param":null,"code":"stream_interrupted"\}\}\n\n$/,
    );
    expect(client.text).not.toContain('[DONE]');
    expect(client.reply!.complete).toBe(true);
    await fleet.until(() => fleet.done.length === 1);
    expect(fleet.done[0]).toMatchObject({ outcome: 'failed', code: 'stream_interrupted', outputTokens: 1 });
  });

  test('of guided decoding that the engine cannot restore: cannot_continue', async () => {
    const { fleet, client } = await streaming(1, {}, { response_format: { type: 'json_object' } });
    fleet.world.net.cut(fleet.agents[0]!.address);
    await fleet.until(() => client.ended);
    expect(client.text).toContain('"code":"cannot_continue"');
    expect(fleet.agents[1]!.opens).toHaveLength(0);
  });

  test('of guided decoding that the engine restores: continued', async () => {
    const fleet = await ScriptedFleet.start();
    fleet.publishFleet({}, ['continue:*']);
    await fleet.until(() => fleet.running.ready() === true);
    const client = fleet.chat({ response_format: { type: 'json_object' } });
    await fleet.until(() => fleet.agents[0]!.opens.length === 1);
    fleet.agents[0]!.say(0, 1);
    await fleet.until(() => client.tokens.length === 1);
    fleet.world.net.cut(fleet.agents[0]!.address);
    await fleet.until(() => fleet.agents[1]!.opens.length === 1);
  });

  test('an error of the request itself is passed on with its status', async () => {
    const { fleet, client } = await streaming(0);
    fleet.agents[0]!.say(0, 0, { error: { code: 'context_length_exceeded', message: 'too long', retryable: false, retryAfterMs: 0 } });
    await fleet.until(() => client.ended);
    expect(client.status).toBe(400);
    expect(client.error).toEqual({ message: 'too long', type: 'invalid_request_error', param: null, code: 'context_length_exceeded' });
  });
});

describe('a hand-over', () => {
  test('moves the stream: tokens under way from the source do not count, the target says them', async () => {
    const { fleet, client } = await streaming(3);
    const [source, target] = fleet.agents;
    const old = source!.opens[0]!;
    expect(await handOver(fleet)).toMatchObject({ outcome: 'committed', epoch: 2, instanceId: 'chat-2' });
    await fleet.until(() => target!.opens.length === 1 && source!.cancels.length === 1);
    expect(source!.cancels[0]).toMatchObject({ epoch: 1, reason: 'moved' });
    expect(target!.opens[0]).toMatchObject({ reservationId: 'res-1', epoch: 2, nextIndex: 3 });
    expect(target!.opens[0]!.body).toHaveLength(0);
    source!.say(3, 2, {}, old);
    target!.say(3, 2);
    source!.finish(5, 1, { stream: old.stream, epoch: 1 });
    target!.finish(5, 1);
    await fleet.until(() => client.ended);
    expect(client.tokens).toEqual(upTo(6));
    await fleet.until(() => fleet.done.length === 1);
    expect(fleet.done[0]).toMatchObject({ migrations: 1, failovers: 0, instanceId: 'chat-2', outputTokens: 6 });
  });

  test('repeated with the same id commits once; asked about, it answers the same, also when the request has ended', async () => {
    const { fleet, client } = await streaming(3);
    const first = await handOver(fleet);
    const again = await handOver(fleet);
    expect({ ...again, meta: null }).toEqual({ ...first, meta: null });
    expect(fleet.agents[1]!.opens).toHaveLength(1);
    fleet.agents[1]!.finish(3, 1);
    await fleet.until(() => client.ended);
    const bus = fleet.world.ports('worker-1').bus;
    const query = { requestId: fleet.asked[0]!.requestId, migrationId: 'm-1', final: true };
    const outcome = await fleet.settled(bus.request(contracts.handOverOutcome, ['gateway-1'], query, { timeoutMs: 1_000 }));
    expect(outcome).toMatchObject({ outcome: 'committed', epoch: 2 });
    expect(await handOver(fleet, { migrationId: 'm-2', fromEpoch: 2, toEpoch: 3 })).toMatchObject({
      outcome: 'refused',
      refusal: { code: 'sequence_finished' },
    });
  });

  test('that was asked about before it came commits when it comes, unless the asker acts on the answer', async () => {
    const ask = async (fleet: ScriptedFleet, final: boolean) => {
      const query = { requestId: fleet.asked[0]!.requestId, migrationId: 'm-1', final };
      return fleet.settled(fleet.world.ports('worker-1').bus.request(contracts.handOverOutcome, ['gateway-1'], query, { timeoutMs: 1_000 }));
    };
    const curious = await streaming(1);
    expect(await ask(curious.fleet, false)).toMatchObject({ outcome: 'refused', epoch: 1 });
    expect(await handOver(curious.fleet)).toMatchObject({ outcome: 'committed', epoch: 2 });
    const acting = await streaming(1);
    expect(await ask(acting.fleet, true)).toMatchObject({ outcome: 'refused', epoch: 1 });
    expect(await handOver(acting.fleet)).toMatchObject({ outcome: 'refused', epoch: 1, instanceId: 'chat-1' });
    expect(acting.fleet.agents[1]!.opens).toHaveLength(0);
  });

  test('that an instance asks for: it gives away what it speaks for, and nothing else', async () => {
    const { fleet, client } = await streaming(3);
    const { bus } = fleet.world.ports('agent-1');
    const { requestId } = fleet.asked[0]!;
    const target = fleet.agents[1]!;
    const command = {
      ...{ requestId, migrationId: 'h-1', fromEpoch: 1, toEpoch: 2, instanceId: target.name, address: target.address },
      ...{ reservationId: 'h-1', mode: 'copy' as const, nextIndex: 3 },
    };
    const give = (giver: string) => fleet.settled(bus.request(contracts.handOff, ['gateway-1', giver], command, { timeoutMs: 1_000 }));
    const ask = (giver: string, migrationId: string) =>
      fleet.settled(bus.request(contracts.handOffOutcome, ['gateway-1', giver], { requestId, migrationId, final: true }, { timeoutMs: 1_000 }));
    expect(await give('chat-2')).toMatchObject({ outcome: 'refused', epoch: 1, refusal: { code: 'not_movable' } });
    expect(await ask('chat-2', 'h-1')).toMatchObject({ outcome: 'refused', epoch: 1 });
    expect(target.opens).toHaveLength(0);
    // Nobody else's question has made it final.
    expect(await give('chat-1')).toMatchObject({ outcome: 'committed', epoch: 2, instanceId: 'chat-2' });
    expect(await give('chat-1')).toMatchObject({ outcome: 'committed', epoch: 2 });
    expect(await ask('chat-1', 'h-1')).toMatchObject({ outcome: 'committed', epoch: 2 });
    await fleet.until(() => target.opens.length === 1);
    expect(target.opens[0]).toMatchObject({ reservationId: 'h-1', epoch: 2, nextIndex: 3, handOff: null });
    target.finish(3, 1);
    await fleet.until(() => client.ended);
    expect(client.tokens).toEqual(upTo(4));
  });

  test('of a request that nobody knows', async () => {
    const { fleet } = await streaming(1);
    expect(await handOver(fleet, { requestId: 'req-unknown' })).toMatchObject({ outcome: 'unknown_request' });
  });

  test('of an older epoch is refused and changes nothing', async () => {
    const { fleet, client } = await streaming(1);
    expect(await handOver(fleet, { fromEpoch: 0 })).toMatchObject({ outcome: 'refused', epoch: 1, refusal: { code: 'stale_epoch' } });
    fleet.agents[0]!.finish(1, 1);
    await fleet.until(() => client.ended);
    expect(client.tokens).toEqual(upTo(2));
  });

  test('to a target that then fails: continued from the token log', async () => {
    const { fleet, client } = await streaming(3);
    fleet.admission = (info) => fleet.assign(info, fleet.agents[0]);
    await handOver(fleet);
    fleet.agents[1]!.say(3, 0, { error: { code: 'unknown_reservation', message: 'expired', retryable: false, retryAfterMs: 0 } });
    await fleet.until(() => fleet.agents[0]!.opens.length === 2);
    expect(fleet.agents[0]!.opens[1]).toMatchObject({ epoch: 3, resumeTokenIds: [0, 1, 2], reservationId: '' });
    fleet.agents[0]!.finish(3, 1);
    await fleet.until(() => client.ended);
    expect(client.tokens).toEqual(upTo(4));
  });
});

describe('a client that leaves', () => {
  test('while it is queued gives up its place', async () => {
    const fleet = await ScriptedFleet.start();
    fleet.admission = () => 'silent';
    const leaving = new AbortController();
    fleet.chat({}, { signal: leaving.signal });
    await fleet.until(() => fleet.asked.length === 1);
    leaving.abort();
    await fleet.until(() => fleet.left.length === 1 && fleet.done.length === 1, 100);
    expect(fleet.left).toEqual([fleet.asked[0]!.requestId]);
    expect(fleet.done[0]).toMatchObject({ outcome: 'aborted', code: 'client_left', outputTokens: 0 });
  });

  test('and is assigned afterwards opens no stream', async () => {
    const fleet = await ScriptedFleet.start();
    const answer = Promise.withResolvers<void>();
    fleet.admission = async (info) => {
      await answer.promise;
      return fleet.assign(info, fleet.agents[0]);
    };
    const leaving = new AbortController();
    fleet.chat({}, { signal: leaving.signal });
    await fleet.until(() => fleet.asked.length === 1);
    leaving.abort();
    await fleet.until(() => fleet.done.length === 1);
    answer.resolve();
    await fleet.world.clock.advance(5_000);
    expect(fleet.agents[0]!.opens).toHaveLength(0);
  });

  test.each([
    ['in prefill, streaming', 0, true],
    ['in prefill, not streaming', 0, false],
    ['in decode, streaming', 3, true],
    ['in decode, not streaming', 3, false],
  ])('%s: the engine is told at once, and what was produced is charged', async (_what, tokens, stream) => {
    const fleet = await ScriptedFleet.start();
    const leaving = new AbortController();
    fleet.chat({ stream }, { signal: leaving.signal });
    const [agent] = fleet.agents;
    await fleet.until(() => agent!.opens.length === 1);
    if (tokens > 0) agent!.say(0, tokens);
    await fleet.world.clock.advance(1);
    leaving.abort();
    await fleet.until(() => agent!.cancels.length === 1 && fleet.done.length === 1, 50);
    expect(agent!.cancels[0]).toMatchObject({ reason: 'client_left', epoch: 1 });
    expect(fleet.done[0]).toMatchObject({ outcome: 'aborted', outputTokens: tokens });
  });

  test('while it sends its body is forgotten', async () => {
    const fleet = await ScriptedFleet.start();
    const leaving = new AbortController();
    async function* body() {
      yield new TextEncoder().encode('{"model":');
      await new Promise(() => {});
    }
    fleet.fetch('/v1/chat/completions', { method: 'POST', body: body(), signal: leaving.signal });
    await fleet.world.clock.advance(1);
    leaving.abort();
    await fleet.world.clock.advance(1);
    expect(fleet.asked).toHaveLength(0);
    expect(fleet.world.telemetryOf('gateway-1').value('switchyard_requests_total')).toBe(1);
  });

  test('or reads too slowly: the engine stops, the client is told', async () => {
    const { fleet, client } = await streaming(1, { slowClientBytes: 65_536 });
    client.paused = true;
    const data = new TextEncoder().encode(`data: ${'x'.repeat(40_000)}\n\n`);
    for (let index = 1; index < 6; index++) fleet.agents[0]!.say(index, 1, { data });
    await fleet.until(() => fleet.agents[0]!.cancels.length === 1);
    client.paused = false;
    await fleet.until(() => client.ended);
    expect(client.text).toContain('"code":"client_too_slow"');
    expect(client.text).not.toContain('[DONE]');
  });
});

describe('admission', () => {
  test('that says "queued" is asked again until there is room', async () => {
    const fleet = await ScriptedFleet.start();
    fleet.admission = async (info, ask) => {
      if (ask >= 4) return fleet.assign(info, fleet.agents[0]);
      await new Promise<void>((resolve) => fleet.world.clock.after(1_000, resolve));
      return { outcome: 'queued', queuePosition: 4 - ask };
    };
    fleet.chat();
    await fleet.until(() => fleet.asked.length === 3);
    const bus = fleet.world.ports('console-1').bus;
    const [listed] = await fleet.settled(bus.gather(contracts.listRequests, [], { includeEnded: false }, { timeoutMs: 50, expected: 1 }));
    expect(listed!.requests[0]!.state).toBe('queued');
    await fleet.until(() => fleet.agents[0]!.opens.length === 1);
    expect(new Set(fleet.asked.map((info) => `${info.requestId} ${info.arrivalMs}`)).size).toBe(1);
  });

  test('that nobody serves yet is asked again until somebody does', async () => {
    const fleet = await ScriptedFleet.start({ admissionLate: true });
    const client = fleet.chat();
    await fleet.world.clock.advance(3_000);
    fleet.serveAdmission();
    await fleet.until(() => fleet.agents[0]!.opens.length === 1, 200);
    fleet.agents[0]!.finish(0, 1);
    await fleet.until(() => client.ended);
    expect(client.tokens).toEqual([0]);
  });

  test('that has another owner now is asked again', async () => {
    const fleet = await ScriptedFleet.start();
    const notOwner = { code: 'not_owner', message: '', retryable: true, retryAfterMs: 0 };
    fleet.admission = (info, ask) => (ask < 3 ? { outcome: 'refused', refusal: notOwner } : fleet.assign(info, fleet.agents[0]));
    fleet.chat();
    await fleet.until(() => fleet.agents[0]!.opens.length === 1, 500);
  });

  test('whose answer is lost is asked again with the same request', async () => {
    const fleet = await ScriptedFleet.start();
    fleet.admission = (info, ask) => (ask === 1 ? 'silent' : fleet.assign(info, fleet.agents[0]));
    fleet.chat();
    await fleet.until(() => fleet.agents[0]!.opens.length === 1);
    expect(new Set(fleet.asked.map((info) => info.requestId)).size).toBe(1);
  });

  test('with a new owner is asked at once', async () => {
    const fleet = await ScriptedFleet.start();
    fleet.admission = (info, ask) => (ask === 1 ? 'silent' : fleet.assign(info, fleet.agents[0]));
    fleet.chat();
    await fleet.until(() => fleet.asked.length === 1);
    fleet.world.ports('admission-1').bus.publish(contracts.queueOwnerChanged, ['chat'], { pool: 'chat', ownerId: 'admission-2', epoch: 2 });
    await fleet.until(() => fleet.agents[0]!.opens.length === 1, 50);
  });

  test('that has no room in time: 429 with what SDKs and gateways look for', async () => {
    const fleet = await ScriptedFleet.start({ queueMs: 3_000 });
    fleet.admission = async () => {
      await new Promise<void>((resolve) => fleet.world.clock.after(1_000, resolve));
      return { outcome: 'queued', queuePosition: 9 };
    };
    const client = fleet.chat();
    await fleet.until(() => client.ended);
    expect(client.status).toBe(429);
    expect(client.error).toMatchObject({ code: 'queue_timeout', type: 'overloaded' });
    expect(client.headers).toMatchObject({
      'retry-after-ms': '1000',
      'retry-after': '1',
      'x-should-retry': 'true',
      'x-llm-d-request-dropped-reason': 'rejected-ttl-expired',
    });
    expect(fleet.left).toHaveLength(1);
  });

  test('that nobody serves: 503 after the queue deadline', async () => {
    const fleet = await ScriptedFleet.start({ queueMs: 1_000 });
    fleet.admission = () => 'silent';
    const client = fleet.chat();
    await fleet.until(() => client.ended);
    expect(client.status).toBe(503);
    expect(client.error.code).toBe('timeout');
  });

  test('that refuses for the budget: not to be tried again', async () => {
    const fleet = await ScriptedFleet.start();
    fleet.admission = () => ({ outcome: 'refused', refusal: { code: 'insufficient_quota', message: 'spent', retryable: false, retryAfterMs: 0 } });
    const client = fleet.chat();
    await fleet.until(() => client.ended && fleet.done.length === 1);
    expect(client.status).toBe(429);
    expect(client.headers['x-should-retry']).toBe('false');
    expect(fleet.done[0]).toMatchObject({ outcome: 'refused', code: 'insufficient_quota' });
  });
});

describe('shutting down', () => {
  test('refuses what is new and lets streams end', async () => {
    const { fleet, client } = await streaming(1);
    const drained = fleet.running.drain(10_000);
    const late = fleet.chat();
    await fleet.until(() => late.ended);
    expect(late.status).toBe(503);
    expect(late.error.code).toBe('draining');
    expect(late.headers['x-llm-d-request-dropped-reason']).toBe('rejected-shutting-down');
    expect(fleet.running.ready()).toBe('draining');
    fleet.agents[0]!.finish(1, 1);
    await fleet.settled(drained, 1_000);
    expect(client.text.endsWith('data: [DONE]\n\n')).toBe(true);
    expect(fleet.done).toHaveLength(1);
  });

  test('tells streams that take too long, and the engine', async () => {
    const { fleet, client } = await streaming(1);
    await fleet.settled(fleet.running.drain(3_000), 4_000);
    expect(client.text).toContain('"code":"draining"');
    expect(client.text).not.toContain('[DONE]');
    expect(fleet.agents[0]!.cancels).toMatchObject([{ reason: 'deadline' }]);
    expect(fleet.done).toMatchObject([{ outcome: 'failed', code: 'draining', outputTokens: 1 }]);
  });
});

describe('a client that does not stream gets its one answer', () => {
  test('when its instance streams nevertheless', async () => {
    const fleet = await ScriptedFleet.start();
    const [agent] = fleet.agents;
    const client = fleet.chat({ stream: false });
    await fleet.until(() => agent!.opens.length === 1);
    const data = new TextEncoder().encode('data: {}\n\n');
    agent!.say(0, 0, { data });
    agent!.say(0, 2, { data });
    agent!.finish(2, 1, { data });
    await fleet.until(() => client.ended);
    expect(client.headers['content-type']).toBe('application/json');
    expect(client.json).toEqual({ object: 'chat.completion', n: 3 });
  });

  test('an error when its instance ends without one', async () => {
    const fleet = await ScriptedFleet.start();
    const [agent] = fleet.agents;
    const client = fleet.chat({ stream: false });
    await fleet.until(() => agent!.opens.length === 1);
    agent!.finish(0, 2, { finalBody: new Uint8Array() });
    await fleet.until(() => client.ended);
    expect(client.status).toBe(502);
    expect(client.error.code).toBe('engine_error');
  });
});
