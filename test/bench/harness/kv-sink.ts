// The receiving process of bench:transfer: one port takes bytes and throws them away, the other is an agent's KV listener with
// room for everything. Says its addresses to its parent, and ends with it.
import { createServer } from 'node:net';
import { BlockPool } from '../../../core/engine/block-pool.ts';
import { Reservations } from '../../../core/engine/reservations.ts';
import { systemClock } from '../../../lib/clock/system-clock.ts';
import { receiveKv } from '../../../lib/kv/kv-receiver.ts';
import { createNodeNet } from '../../../lib/net/node-net.ts';
import type { StageTarget } from '../../../lib/ports/engines.ts';
import { createMemoryTelemetry } from '../../../lib/telemetry/memory-telemetry.ts';

/** Tokens of a block, and bytes of each: blocks of 1 MB. */
const blockTokens = 1_024;
const [count] = process.argv.slice(2).map(Number) as [number];
const reservations = new Reservations(new BlockPool({ blocks: count, blockTokens, kvBytesPerToken: blockTokens }), 1);

/** One transfer after the other, each into blocks of its own. */
function targetOf(id: string): StageTarget {
  let reservation = reservations.get(id);
  if (!reservation) {
    for (const before of [...reservations.all()]) reservations.drop(before.id);
    const asked = { id, requestId: id, epoch: 1, purpose: 'cache', transferToken: '', ttlMs: 600_000, nowMs: 0, blocks: count } as const;
    const reserved = reservations.reserve(asked);
    if ('code' in reserved) throw new Error(reserved.message);
    reservation = reserved;
  }
  const held = reservation;
  return {
    have: () => reservations.whole(held),
    write: (piece) => reservations.write(held, piece),
    commit: (versions) => ({ missing: reservations.missing(held, versions) }),
  };
}

const kv = await receiveKv({
  net: createNodeNet(systemClock),
  clock: systemClock,
  telemetry: createMemoryTelemetry(systemClock),
  host: '127.0.0.1',
  port: 0,
  find: (reservationId) => ({ target: targetOf(reservationId), instanceId: 'sink' }),
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
