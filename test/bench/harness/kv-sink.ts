// The receiving process of bench:transfer: one port takes bytes and throws them away, the other is an agent's KV listener with
// room for everything. Says its addresses to its parent, and ends with it.
import { createServer } from 'node:net';
import { systemClock } from '../../../lib/clock/system-clock.ts';
import { receiveKv } from '../../../lib/kv/kv-receiver.ts';
import { createNodeNet } from '../../../lib/net/node-net.ts';
import type { StageTarget } from '../../../lib/ports/engines.ts';
import { createMemoryTelemetry } from '../../../lib/telemetry/memory-telemetry.ts';

const [blockBytes, count] = process.argv.slice(2).map(Number) as [number, number];
const room = Buffer.alloc(blockBytes * count, 1);
const have = new Map<number, { version: number; bytes: number }>();

const target: StageTarget = {
  have: () => [],
  write({ block, offset, version, payload }) {
    room.set(payload, block * blockBytes + offset);
    const before = have.get(block);
    have.set(block, { version, bytes: (before?.version === version ? before.bytes : 0) + payload.length });
    return undefined;
  },
  commit: (versions) => ({
    missing: versions.flatMap((version, block) => (have.get(block)?.version === version && have.get(block)?.bytes === blockBytes ? [] : [block])),
  }),
};

const kv = await receiveKv({
  net: createNodeNet(systemClock),
  clock: systemClock,
  telemetry: createMemoryTelemetry(systemClock),
  host: '127.0.0.1',
  port: 0,
  find: () => ({ target, instanceId: 'sink' }),
});

/** Answers with a byte when the other side has ended. */
const raw = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('data', () => {});
  socket.on('end', () => socket.end('k'));
});
await new Promise<void>((resolve) => raw.listen(0, '127.0.0.1', resolve));
const bound = raw.address();
process.on('disconnect', () => process.exit());
process.send?.({ kv: kv.address, rawPort: bound && typeof bound === 'object' ? bound.port : 0 });
