// What the status events of a NATS connection mean, on a connection that only tells them. The real one is in
// test/conformance/bus.test.ts.
import type { NatsConnection, Status } from '@nats-io/transport-node';
import { expect, test } from 'vitest';
import { flush, VirtualClock } from '../clock/virtual-clock.ts';
import { createMemoryTelemetry } from '../telemetry/memory-telemetry.ts';
import { watchConnection } from './nats-connection.ts';

async function watched(flags: { isClosed?: boolean; isDraining?: boolean }, types: readonly Status['type'][]) {
  async function* status() {
    for (const type of types) yield { type, server: 'nats://a' } as Status;
  }
  const nats = { status, isClosed: () => flags.isClosed ?? false, isDraining: () => flags.isDraining ?? false, getServer: () => 'nats://a' };
  const telemetry = createMemoryTelemetry(new VirtualClock(), { process: 'router-1' });
  const connection = watchConnection(nats as unknown as NatsConnection, telemetry);
  let reconnects = 0;
  connection.onReconnect(() => reconnects++);
  await flush();
  return { connection, said: telemetry.logs.map(({ level, message }) => `${level}: ${message}`), reconnects };
}

test('a connection that is lost is a warning, one that comes back is told to whoever waits', async () => {
  const { connection, said, reconnects } = await watched({}, ['disconnect', 'reconnect']);
  expect(said).toEqual(['warn: bus disconnected', 'info: bus connected again']);
  expect(connection.connected()).toBe(true);
  expect(reconnects).toBe(1);
});

test('an orderly end is no warning, whichever event comes first', async () => {
  for (const flags of [{ isDraining: true }, { isClosed: true }]) {
    for (const types of [['disconnect', 'close'], ['close']] as const) {
      const { connection, said } = await watched(flags, types);
      expect(said).toEqual([]);
      expect(connection.connected()).toBe(false);
    }
  }
});
