// Tokens on their way from a source to a target that follows it.
import { expect, test } from 'vitest';
import { refusal } from '../../core/errors/switchyard-error.ts';
import { KvFrame } from '../../proto/gen/messages.ts';
import type { StageSource, StageTarget } from '../ports/engines.ts';
import type { Connection, Net } from '../ports/net.ts';
import { createMemoryWorld } from '../run/memory-ports.ts';
import { receiveKv } from './kv-receiver.ts';
import { sendTail } from './kv-tail.ts';

type Send = (firstIndex: number, tokenIds: readonly number[]) => void;

async function following(options: { refuse?: boolean; refuseStage?: boolean; bend?: (frame: Uint8Array) => Uint8Array } = {}) {
  const world = createMemoryWorld();
  const source = world.ports('source');
  const target = world.ports('target');
  const got: [number, number[]][] = [];
  /** Tokens that had come before each. */
  const commits: { last: boolean; behind: number; state: string }[] = [];
  const stageTarget: StageTarget = {
    have: () => [],
    write: () => undefined,
    commit(_, last, state) {
      commits.push({ last, behind: got.length, state: Buffer.from(state).toString() });
      return options.refuseStage ? refusal('transfer_failed', 'it has lost what it followed') : { missing: [] };
    },
    follow: (firstIndex, tokenIds) => void got.push([firstIndex, [...tokenIds]]),
  };
  const find = () => (options.refuse ? refusal('permission_denied', 'no') : { target: stageTarget, instanceId: 'i' });
  const listener = await receiveKv({ ...target, host: '127.0.0.1', port: 0, find });
  let say: Send | undefined;
  let stopped = false;
  let connected = 0;
  let opened = 0;
  const net: Net = {
    listen: source.net.listen,
    async connect(...args) {
      const inner = await source.net.connect(...args);
      connected++;
      opened++;
      inner.onClose(() => connected--);
      const { bend = (frame: Uint8Array) => frame } = options;
      return new Proxy(inner, {
        get(connection, name: keyof Connection) {
          if (name === 'send') return (frame: Uint8Array) => connection.send(bend(frame));
          const value = connection[name];
          return typeof value === 'function' ? value.bind(connection) : value;
        },
      });
    },
  };
  const stage = {
    tail(send: Send) {
      say = send;
      return () => {
        stopped = true;
      };
    },
  } as unknown as StageSource;
  const names = { reservationId: 'r', transferToken: 't', timeoutMs: 1_000, traceparent: '' };
  const tail = sendTail({ net, clock: world.clock, source: stage, address: listener.address, ...names });
  const until = (condition: () => boolean) => world.clock.until(condition, 10_000);
  return {
    world,
    until,
    tail,
    got,
    commits,
    listener,
    says: () => say,
    stopped: () => stopped,
    connected: () => connected,
    opened: () => opened,
    telemetry: world.telemetryOf('target'),
  };
}

test('tokens arrive as they are produced, until the tail ends', async () => {
  const { until, tail, got, says, stopped, connected } = await following();
  await until(() => says() !== undefined);
  says()!(7, [101]);
  says()!(8, [102, 103]);
  await until(() => got.length === 2);
  expect(got).toEqual([
    [7, [101]],
    [8, [102, 103]],
  ]);
  tail.end();
  expect(stopped()).toBe(true);
  await until(() => connected() === 0);
  says()!(10, [104]);
  expect(got).toHaveLength(2);
});

test('a target that does not know the reservation gets no tokens', async () => {
  const { until, got, says, connected, opened } = await following({ refuse: true });
  await until(() => opened() === 1 && connected() === 0);
  expect(says()).toBeUndefined();
  expect(got).toEqual([]);
});

test('a tail that was changed on the way is left out', async () => {
  let flips = false;
  const bend = (frame: Uint8Array) => (flips ? frame.map((byte, at) => (at === frame.length - 1 ? byte ^ 1 : byte)) : frame);
  const { until, got, says, telemetry } = await following({ bend });
  await until(() => says() !== undefined);
  flips = true;
  says()!(7, [101]);
  await until(() => telemetry.value('switchyard_kv_checks_failed_total', {}) === 1);
  expect(got).toEqual([]);
});

test('one that nobody ends, ends by itself', async () => {
  const { world, until, says, stopped } = await following();
  await until(() => says() !== undefined);
  await world.clock.advance(120_000);
  expect(stopped()).toBe(true);
});

const stage = (last: boolean) => ({ stage: 1, last, source: { versions: [], state: Buffer.from('all else') } as unknown as StageSource });

test('a stage without blocks is put in place behind all tokens', async () => {
  const { until, tail, says, commits, opened } = await following();
  await until(() => says() !== undefined);
  says()!(7, [101]);
  const ahead = tail.commit(stage(false));
  await until(() => commits.length === 1);
  expect(await ahead).toMatchObject({ missing: [] });
  says()!(8, [102]);
  const last = tail.commit(stage(true));
  await until(() => commits.length === 2);
  expect(await last).toMatchObject({ missing: [] });
  expect(commits).toEqual([
    { last: false, behind: 1, state: 'all else' },
    { last: true, behind: 2, state: 'all else' },
  ]);
  expect(opened()).toBe(1);
});

test('what the target refuses is the answer', async () => {
  const { world, until, tail, says } = await following({ refuseStage: true });
  await until(() => says() !== undefined);
  const answer = tail.commit(stage(true));
  await world.clock.advance(10);
  expect((await answer)?.refusal).toMatchObject({ code: 'transfer_failed' });
});

test('before the target has said yes, after the end, and when the target is lost, there is no answer here', async () => {
  const early = await following();
  expect(await early.tail.commit(stage(true))).toBeUndefined();
  await early.until(() => early.says() !== undefined);
  early.tail.end();
  expect(await early.tail.commit(stage(true))).toBeUndefined();

  const lost = await following();
  await lost.until(() => lost.says() !== undefined);
  const answer = lost.tail.commit(stage(true));
  await lost.listener.close();
  await lost.world.clock.advance(10);
  expect(await answer).toBeUndefined();
});

test('a target that says nothing is given up after the time limit', async () => {
  let silent = false;
  const { world, until, tail, says } = await following({ bend: (frame) => (silent ? new Uint8Array(KvFrame.encode({ hello: undefined })) : frame) });
  await until(() => says() !== undefined);
  silent = true;
  const answer = tail.commit(stage(true));
  await world.clock.advance(1_001);
  expect(await answer).toBeUndefined();
});

test('a stage that comes while another is being put in place is not answered with the answer to that one', async () => {
  const { until, tail, says, commits } = await following();
  await until(() => says() !== undefined);
  const first = tail.commit(stage(false));
  expect(await tail.commit(stage(true))).toBeUndefined();
  await until(() => commits.length === 1);
  expect(await first).toMatchObject({ missing: [] });
  expect(commits.map(({ last }) => last)).toEqual([false]);
});
