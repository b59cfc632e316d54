// Requests that the agent beside their first instance gives away once they have begun to decode, in memory on virtual time.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { refusal } from '../../core/errors/switchyard-error.ts';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Body } from '../../lib/ports/bus.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { createMemoryWorld, type MemoryWorld } from '../../lib/run/memory-ports.ts';
import type { Running } from '../../lib/run/service.ts';
import type { HandOverCommand, HandOverReply, InstanceStatus } from '../../proto/gen/messages.ts';
import { chatBody, startAgent, TestGateway, watchStatus } from './agent-fixtures.ts';
import type { AgentConfig } from './config.ts';

const body = chatBody('Carry me over the bridge while I count the stones of the river, please.', 150);
const handOff = { instanceId: 'b', address: '' };

let world: MemoryWorld<VirtualClock>;
let agents: Running<AgentConfig>[];
let status: Map<string, InstanceStatus>;
let source: TestGateway;
let target: TestGateway;
let gateway: Ports;
/** What the gateway says to the hand-over instead of committing it. */
let refused: Body<HandOverReply> | undefined;
/** How long it takes to say that it has committed, ms. */
let lateMs: number;
let commands: HandOverCommand[];
let asked: number;

const until = (condition: () => boolean) => world.clock.until(condition, 60_000);

async function settled<T>(work: Promise<T>): Promise<T> {
  let done = false;
  const ending = work.finally(() => {
    done = true;
  });
  ending.catch(() => {});
  await until(() => done);
  return ending;
}

beforeEach(async () => {
  world = createMemoryWorld();
  gateway = world.ports('gateway-1');
  status = watchStatus(gateway);
  agents = [await startAgent(world.ports('agent-a'), 'a', { handOffsAtOnce: 2 }), await startAgent(world.ports('agent-b'), 'b')];
  await until(() => status.size === 2);
  source = await TestGateway.connect(gateway.net, status.get('a')!.address);
  target = await TestGateway.connect(gateway.net, status.get('b')!.address, source);
  [commands, asked] = [[], 0];
  [refused, lateMs] = [undefined, 0];
  const committed = new Map<string, Body<HandOverReply>>();
  gateway.bus.serve(contracts.handOff, ['gateway-1', '*'], async (command, { keys }) => {
    expect(keys[1]).toBe('a');
    commands.push(command);
    if (refused) return refused;
    const { requestId, reservationId, toEpoch: epoch, fromEpoch, instanceId } = command;
    const known = committed.get(requestId);
    if (known) return known;
    const reply = { outcome: 'committed' as const, epoch, instanceId };
    committed.set(requestId, reply);
    source.cancel(requestId, fromEpoch, 'moved');
    target.open('b', requestId, { epoch, reservationId, nextIndex: source.requests.get(requestId)!.ids.length });
    await new Promise<void>((resolve) => world.clock.after(lateMs, resolve));
    return reply;
  });
  gateway.bus.serve(contracts.handOffOutcome, ['gateway-1', '*'], ({ requestId, final }) => {
    expect(final).toBe(true);
    asked += 1;
    const never: Body<HandOverReply> = {
      outcome: 'refused',
      epoch: 1,
      instanceId: 'a',
      refusal: refusal('not_movable', 'no such hand-over has come'),
    };
    return committed.get(requestId) ?? never;
  });
});

afterEach(async () => {
  await settled(Promise.all(agents.map((one) => one.drain(0))));
});

async function expectExact(requestId = 'req-1') {
  const request = source.requests.get(requestId)!;
  await until(() => request.finish !== undefined);
  request.expectExact(body, 150);
  await until(() => ['a', 'b'].every((id) => status.get(id)!.sequences.length === 0 && status.get(id)!.freeBlocks === 64));
  expect(['a', 'b'].map((id) => status.get(id)!.reservedBlocks)).toEqual([0, 0]);
}

describe('a request that is to go on elsewhere', () => {
  test('goes there after its first token, without a pause of its stream, token-exact', async () => {
    source.open('a', 'req-1', { body, handOff, traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' });
    await until(() => commands.length === 1);
    expect(commands[0]).toMatchObject({ fromEpoch: 1, toEpoch: 2, instanceId: 'b', mode: 'copy', migrationId: 'hand-off-req-1-1' });
    expect(commands[0]!.address).toBe(status.get('b')!.address);
    await until(() => status.get('a')!.sequences.length === 0);
    expect(source.requests.get('req-1')!.ids.length).toBeLessThan(40);
    await expectExact();
    const span = world.telemetry.spans.find(({ name }) => name === 'hand_off')!;
    expect(span.traceId).toBe('0af7651916cd43dd8448eb211c80319c');
    expect(span.attributes).toMatchObject({ 'switchyard.outcome': 'committed', 'switchyard.target': 'b', 'switchyard.migration.mode': 'copy' });
    expect(asked).toBe(0);
  });

  test('stays when it has few tokens to go, and is not asked about', async () => {
    const brief = chatBody('Name a river.', 10);
    const request = source.open('a', 'req-1', { body: brief, handOff });
    await until(() => request.finish !== undefined);
    request.expectExact(brief, 10);
    expect(commands).toEqual([]);
  });

  test('is not given away without a target', async () => {
    source.open('a', 'req-1', { body });
    await expectExact();
    expect(commands).toEqual([]);
  });

  test.each<[string, Body<HandOverReply> | undefined]>([
    ['nobody holds blocks for it', undefined],
    ['the gateway refuses', { outcome: 'refused', epoch: 1, instanceId: 'a', refusal: refusal('stale_epoch', 'no') }],
    ['the gateway has never heard of it', { outcome: 'unknown_request', epoch: 0, instanceId: '' }],
  ])('decodes on where it is when %s', async (_, said) => {
    refused = said;
    const to = said ? handOff : { instanceId: 'c', address: '' };
    source.open('a', 'req-1', { body, handOff: to });
    await expectExact();
    expect(commands).toHaveLength(said ? 1 : 0);
    const outcome = { 'switchyard.outcome': 'kept', 'switchyard.code': said ? (said.refusal?.code ?? said.outcome) : 'no_responders' };
    expect(world.telemetry.spans.find(({ name }) => name === 'hand_off')!.attributes).toMatchObject(outcome);
  });

  test('waits for a target that is full, decoding, and goes there when it has room', async () => {
    const held = (blocks: number, id: string) =>
      gateway.bus.request(
        contracts.reserve,
        ['b'],
        { ...{ instanceId: 'b', reservationId: id, requestId: id, epoch: 1, blocks, ttlMs: 400 }, purpose: 'migration', sourceInstanceId: 'x' },
        { timeoutMs: 1_000 },
      );
    expect((await settled(held(60, 'm-1'))).refusal).toBeNull();
    source.open('a', 'req-1', { body, handOff });
    await until(() => commands.length === 1);
    await expectExact();
    const spans = world.telemetry.spans.filter(({ name }) => name === 'hand_off');
    expect(spans.map(({ attributes }) => attributes['switchyard.code'] ?? attributes['switchyard.outcome'])).toEqual([
      'target_full',
      'target_full',
      'committed',
    ]);
  });

  test('is asked about when the answer is late: committed it has moved', async () => {
    lateMs = 1_500;
    source.open('a', 'req-1', { body, handOff });
    await expectExact();
    await until(() => asked === 1);
    expect(commands).toHaveLength(1);
  });

  test('that is one of many waits for its turn, decoding', async () => {
    const ids = ['req-1', 'req-2', 'req-3'];
    for (const id of ids) source.open('a', id, { body: chatBody(`${id} over the bridge`, 60), handOff });
    await until(() => commands.length === 3);
    for (const id of ids) await until(() => source.requests.get(id)!.finish !== undefined);
    for (const id of ids) source.requests.get(id)!.expectExact(chatBody(`${id} over the bridge`, 60), 60);
    await until(() => ['a', 'b'].every((id) => status.get(id)!.freeBlocks === 64));
  });
});
