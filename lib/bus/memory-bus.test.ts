// What needs a virtual clock and so is not in the shared suite (test/conformance/bus.test.ts): long back-offs and give-ups.
import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../clock/virtual-clock.ts';
import { audit, listApprovals, listRequests } from '../contracts.ts';
import { createMemoryTelemetry } from '../telemetry/memory-telemetry.ts';
import { acknowledgeWithinMs, maxDeliveries, recordedIdMs, redeliveryDelayMs } from './limits.ts';
import { createMemoryBusNetwork } from './memory-bus.ts';

function setUp() {
  const clock = new VirtualClock();
  const network = createMemoryBusNetwork(clock);
  const telemetry = createMemoryTelemetry(clock);
  const [a, b] = [network.connect('a', telemetry), network.connect('b', telemetry)];
  const record = (id: string) => a.record(audit, [], { kind: id, actor: '', target: '', detailJson: '', atMs: 0 }, { id });
  return { clock, network, telemetry, a, b, record };
}

describe('recorded messages in memory', () => {
  test('a message that never succeeds is tried with growing delays, then given up with an error', async () => {
    const { clock, telemetry, b, record } = setUp();
    const at: number[] = [];
    await b.consume(audit, 'd', async () => {
      at.push(clock.now());
      throw new Error('never');
    });
    await record('poison');
    await clock.advance(3 * 3_600_000);
    expect(at).toHaveLength(maxDeliveries);
    for (const [index, ms] of at.slice(1).entries()) expect(ms - at[index]!).toBe(redeliveryDelayMs(index + 1));
    expect(telemetry.value('switchyard_bus_dropped_total', { cause: 'given_up' })).toBe(1);
    expect(telemetry.logs.some((log) => log.level === 'error' && log.message.includes('given up'))).toBe(true);
  });

  test('a consumer cut off while it handles a message does not lose it', async () => {
    const { clock, network, b, record } = setUp();
    const got: number[] = [];
    await b.consume(audit, 'd', async () => {
      got.push(clock.now());
      if (got.length === 1) network.setConnected('b', false);
    });
    await record('m');
    await clock.advance(0);
    network.setConnected('b', true);
    await clock.advance(acknowledgeWithinMs);
    expect(got).toHaveLength(2);
  });

  test('ids are forgotten after their time, entries after the age of the stream', async () => {
    const { clock, a, record } = setUp();
    await record('once');
    await clock.advance(recordedIdMs - 1);
    await record('once');
    expect(await a.recorded(audit, 10)).toHaveLength(1);
    await clock.advance(1);
    await record('once');
    expect(await a.recorded(audit, 10)).toHaveLength(2);
    await clock.advance(366 * 24 * 3_600_000);
    expect(await a.recorded(audit, 10)).toEqual([]);
  });
});

describe('answers that cannot be read', () => {
  const garbage = { name: 'garbage', encode: () => Uint8Array.of(0xff), decode: () => ({}) };

  test('fail the question with a code', async () => {
    const { clock, a, b } = setUp();
    a.serve({ ...listApprovals, answer: garbage as never }, [], () => ({ approvals: [] }));
    const asked = b.request(listApprovals, [], { includeEnded: false }, { timeoutMs: 100 });
    asked.catch(() => {});
    await clock.advance(10);
    await expect(asked).rejects.toMatchObject({ code: 'internal' });
  });

  test('are left out of what is gathered', async () => {
    const { clock, telemetry, a, b } = setUp();
    a.serve({ ...listRequests, answer: garbage as never }, [], () => ({ requests: [] }));
    b.serve(listRequests, [], () => ({ requests: [] }));
    const gathered = b.gather(listRequests, [], { includeEnded: false }, { timeoutMs: 100 });
    await clock.advance(200);
    expect(await gathered).toHaveLength(1);
    expect(telemetry.value('switchyard_bus_dropped_total', { cause: 'undecodable' })).toBe(1);
  });
});
