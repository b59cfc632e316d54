// What a receiver keeps of a frame, over real sockets: their memory is used again for the next frame.
import { expect, test, vi } from 'vitest';
import { KvFrame } from '../../proto/gen/messages.ts';
import { systemClock } from '../clock/system-clock.ts';
import { createNodeNet } from '../net/node-net.ts';
import type { StageTarget } from '../ports/engines.ts';
import { createMemoryTelemetry } from '../telemetry/memory-telemetry.ts';
import { commitCrc } from './kv-checks.ts';
import { receiveKv } from './kv-receiver.ts';

test('a commit that waits keeps its state, whatever comes after it', async () => {
  const states: string[] = [];
  const target: StageTarget = {
    have: () => [],
    write: () => undefined,
    commit(_versions, _last, state) {
      states.push(Buffer.from(state).toString());
      return { missing: [0] };
    },
  };
  const net = createNodeNet(systemClock);
  const find = () => ({ target, instanceId: 'i' });
  const listener = await receiveKv({ net, clock: systemClock, telemetry: createMemoryTelemetry(systemClock), host: '127.0.0.1', port: 0, find });
  const connect = () => net.connect(listener.address, { timeoutMs: 2_000, maxFrameBytes: 1 << 20 });
  // With a second connection the first one's commit waits for what may still come on the other.
  const [first, second] = [await connect(), await connect()];
  let answered = false;
  let greeted = 0;
  for (const connection of [first, second]) {
    connection.onFrame((bytes) => {
      const { have, result } = KvFrame.decode(bytes);
      if (have) greeted++;
      if (result) answered = true;
    });
    connection.send(KvFrame.encode({ hello: { reservationId: 'r', transferToken: 't', stage: 0, connection: 0, traceparent: '' } }));
  }
  await vi.waitFor(() => expect(greeted).toBe(2));
  const commit = { stage: 0, blocks: 1, last: true, state: Buffer.alloc(4_000, 'good'), versions: [1] };
  first.send(KvFrame.encode({ commit: { ...commit, crc: commitCrc(commit) } }));
  const other = { block: 0, offset: 0, blockBytes: 4_000, version: 1, payload: Buffer.alloc(3_900, 'evil'), tag: new Uint8Array(16) };
  first.send(KvFrame.encode({ piece: other }));
  await vi.waitFor(() => expect(answered).toBe(true), { timeout: 5_000 });
  expect(states.length).toBeGreaterThan(1);
  expect(new Set(states)).toEqual(new Set(['good'.repeat(1_000)]));
  first.close();
  second.close();
  await listener.close();
});
