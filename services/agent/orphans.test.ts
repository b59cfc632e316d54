// A gateway that goes away in mid-stream: who tells the end of its requests.
import { beforeEach, describe, expect, test } from 'vitest';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import { listRequests, requestsDone } from '../../lib/contracts.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { createMemoryWorld, type MemoryWorld } from '../../lib/run/memory-ports.ts';
import type { RequestDone, RequestRow } from '../../proto/gen/messages.ts';
import { chatBody, model, startAgent, TestGateway, watchStatus } from './agent-fixtures.ts';

const orphanMs = 4_000;
let world: MemoryWorld<VirtualClock>;
let outside: Ports;
let told: RequestDone[];

beforeEach(() => {
  world = createMemoryWorld();
  outside = world.ports('test');
  told = [];
  outside.bus.subscribe(requestsDone, ['*'], ({ ended }) => told.push(...ended));
});

const until = (condition: () => boolean) => world.clock.until(condition, 60_000);

/** A request in mid-stream, and what its gateway has got of it. */
async function streaming(ports = world.ports('agent-1')) {
  const status = watchStatus(outside);
  const running = await startAgent(ports, 'i', { orphanMs }, { speed: 0.1 });
  await until(() => status.has('i'));
  const gateway = await TestGateway.connect(outside.net, status.get('i')!.address);
  const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
  const request = gateway.open('i', 'r', { body: chatBody('Hello', 200), keyId: 'k', sloClass: 'batch', traceparent });
  await until(() => request.ids.length >= 5);
  return { running, gateway, request };
}

/** A gateway, perhaps another one, that knows these requests. */
function aGateway(requestIds: readonly string[]): void {
  outside.bus.serve(listRequests, [], () => ({ requests: requestIds.map((requestId) => ({ requestId }) as RequestRow) }));
}

describe('the end of a request whose link was closed', () => {
  test('is told by the agent when no gateway knows it, with what was produced, once', async () => {
    const { gateway, request } = await streaming();
    aGateway(['another']);
    gateway.connection.close();
    await world.clock.advance(orphanMs / 2);
    expect(told).toEqual([]);
    await world.clock.advance(10 * orphanMs);
    expect(told).toEqual([
      expect.objectContaining({
        ...{ requestId: 'r', keyId: 'k', pool: 'chat', model, instanceId: 'i', sloClass: 'batch', gatewayId: 'gateway-1', traceId: 'a'.repeat(32) },
        ...{ outcome: 'failed', code: 'stream_interrupted' },
      }),
    ]);
    const [{ outputTokens = 0, promptTokens = 0 } = {}] = told;
    expect(outputTokens).toBeGreaterThanOrEqual(request.ids.length);
    expect(outputTokens).toBeLessThanOrEqual(request.ids.length + 1);
    expect(promptTokens).toBeGreaterThan(0);
  });

  test('is told even when there is no gateway at all', async () => {
    const { gateway } = await streaming();
    gateway.connection.close();
    await world.clock.advance(2 * orphanMs);
    expect(told.map(({ requestId }) => requestId)).toEqual(['r']);
  });

  test('is left to a gateway that knows it: only the connection was lost', async () => {
    const { gateway } = await streaming();
    aGateway(['r']);
    gateway.connection.close();
    await world.clock.advance(10 * orphanMs);
    expect(told).toEqual([]);
  });

  test('waits while nobody can be asked, and is told then', async () => {
    let away = true;
    const ports = world.ports('agent-1');
    const gather: Bus['gather'] = (...args) => (away ? Promise.reject(new SwitchyardError('bus_unavailable', 'away')) : ports.bus.gather(...args));
    const { gateway } = await streaming({ ...ports, bus: { ...ports.bus, gather } });
    gateway.connection.close();
    await world.clock.advance(5 * orphanMs);
    expect(told).toEqual([]);
    away = false;
    await world.clock.advance(2 * orphanMs);
    expect(told.map(({ requestId }) => requestId)).toEqual(['r']);
  });

  test('is not told when the client left or the request was moved: its gateway does', async () => {
    const { gateway } = await streaming();
    gateway.cancel('r', 1, 'client_left');
    await world.clock.advance(100);
    gateway.connection.close();
    await world.clock.advance(10 * orphanMs);
    expect(told).toEqual([]);
  });
});
