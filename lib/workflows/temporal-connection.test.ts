import { createServer, type Server } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { systemClock } from '../clock/system-clock.ts';
import { createMemoryTelemetry } from '../telemetry/memory-telemetry.ts';
import { lazyConnection, type TemporalConnection } from './temporal-connection.ts';
import { connectTemporalWorkflows } from './temporal-workflows.ts';

const telemetry = createMemoryTelemetry(systemClock, { process: 'test' });
let server: Server | undefined;
let connection: Pick<TemporalConnection, 'close'> | undefined;

afterEach(async () => {
  await connection?.close();
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
  server = connection = undefined;
});

/** One that hangs up on everybody. */
async function hangingUp() {
  let tries = 0;
  server = createServer((socket) => {
    tries += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return { address: `127.0.0.1:${port}`, tries: () => tries };
}

test('a server that is away is tried again every half second, however long it has been away', async () => {
  const { address, tries } = await hangingUp();
  const it = lazyConnection({ address, namespace: 'default' }, telemetry);
  connection = it;
  expect(it.connected()).toBe(false);
  // With gRPC's own pauses of 1, 1.6, 2.6, 4.1 s it would be the fifth time that falls into these ten seconds.
  await vi.waitFor(() => expect(tries()).toBeGreaterThanOrEqual(10), { timeout: 10_000, interval: 50 });
}, 15_000);

test('who asks is told what the connection said', async () => {
  const { address } = await hangingUp();
  const workflows = connectTemporalWorkflows({ address, namespace: 'default', telemetry });
  connection = workflows;
  await expect(workflows.describe('w')).rejects.toMatchObject({
    code: 'workflows_unavailable',
    message: expect.stringMatching(/describe w: .*UNAVAILABLE/),
  });
});
