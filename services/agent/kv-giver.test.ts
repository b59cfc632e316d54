// A state that its target follows, copied in stages: over which connections each of them goes.
import { beforeEach, expect, test } from 'vitest';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import { receiveKv } from '../../lib/kv/kv-receiver.ts';
import { createTurns } from '../../lib/kv/turns.ts';
import type { EngineAdapter, StageSource } from '../../lib/ports/engines.ts';
import type { Connection, Listener } from '../../lib/ports/net.ts';
import { createMemoryWorld, type MemoryWorld } from '../../lib/run/memory-ports.ts';
import { createKvGiver, type KvGiver, type StageCopied } from './kv-giver.ts';

let world: MemoryWorld<VirtualClock>;
let giver: KvGiver;
let listener: Listener;
/** To the target, in the order in which they were opened. */
let connections: Connection[];
let commits: string[];
let follows: boolean;

const payload = Buffer.from('what the engine has computed');
/** The first stage has a block, the others none: the target computes what is new. */
let confirmed: boolean;

function stageOf(last: boolean): StageSource {
  const blocks = confirmed ? [] : [{ block: 0, version: 1 }];
  return {
    blockBytes: payload.length,
    blocks,
    versions: blocks.map(({ version }) => version),
    state: Buffer.from(last ? 'last' : confirmed ? 'followed' : 'first'),
    nextIndex: 7,
    pausedAtMs: 0,
    read: (_, offset, bytes) => payload.subarray(offset, offset + bytes),
    confirmed() {
      confirmed = true;
      return { blocksRemaining: last ? 0 : 1 };
    },
    tail() {
      follows = true;
      return () => {
        follows = false;
      };
    },
  };
}

beforeEach(async () => {
  world = createMemoryWorld();
  [connections, commits, follows, confirmed] = [[], [], false, false];
  const target = world.ports('target');
  const there = {
    have: () => [],
    write: () => undefined,
    commit(_: readonly number[], __: boolean, state: Uint8Array) {
      commits.push(Buffer.from(state).toString());
      return { missing: [] };
    },
    follow: () => {},
  };
  listener = await receiveKv({ ...target, host: '127.0.0.1', port: 0, find: () => ({ target: there, instanceId: 'b' }) });
  const { clock, net, telemetry } = world.ports('source');
  const watched: typeof net = {
    listen: net.listen,
    async connect(...args) {
      const connection = await net.connect(...args);
      connections.push(connection);
      return connection;
    },
  };
  const adapter = {
    engine: 'llama',
    kv: { beginStage: async ({ last }: { last: boolean }) => stageOf(last), release: () => undefined },
  } as unknown as EngineAdapter;
  giver = createKvGiver({
    ports: { clock, net: watched, telemetry },
    adapter,
    instanceId: 'a',
    stageTimeoutMs: 1_000,
    turns: createTurns(clock),
    released: () => {},
  });
});

async function copy(stage: number, last: boolean, reservationId = 'move-1'): Promise<StageCopied> {
  let reply: StageCopied | undefined;
  const command = { requestId: 'req-1', epoch: 1, kvAddress: listener.address, transferToken: 't', connections: 2, pauseLeaseMs: last ? 3_000 : 0 };
  void giver.copyStage({ ...command, reservationId, stage, last }).then((copied) => {
    reply = copied;
  });
  await world.clock.until(() => reply !== undefined, 10_000);
  return reply!;
}

test('stages without blocks go over the connection of the tokens', async () => {
  expect(await copy(0, false)).toMatchObject({ blocksSent: 1, blocksRemaining: 1 });
  await world.clock.until(() => follows, 1_000);
  const opened = connections.length;
  expect(await copy(1, false)).toMatchObject({ blocksSent: 0, blocksRemaining: 1 });
  expect(follows).toBe(true);
  expect(await copy(2, true)).toMatchObject({ blocksSent: 0, blocksRemaining: 0, nextIndex: 7 });
  expect(commits).toEqual(['first', 'followed', 'last']);
  expect(connections).toHaveLength(opened);
  expect(follows).toBe(false);
});

test('where that connection was lost they go over one of their own', async () => {
  await copy(0, false);
  await world.clock.until(() => follows, 1_000);
  connections.at(-1)!.close();
  await world.clock.until(() => !follows, 1_000);
  const reply = await copy(1, true);
  expect(reply.refusal).toBeUndefined();
  expect(commits).toEqual(['first', 'last']);
});

test('the tokens of another move are not mistaken for those of this one', async () => {
  await copy(0, false);
  await world.clock.until(() => follows, 1_000);
  const opened = connections.length;
  await copy(0, true, 'move-2');
  expect(connections.length).toBeGreaterThan(opened);
});
