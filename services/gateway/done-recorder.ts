// Records the end of every request in the stream of ended requests, once per request id, and tries again for a while:
// admission settles what was used by it.
import { requestDone } from '../../lib/contracts.ts';
import type { Body } from '../../lib/ports/bus.ts';
import { sleep } from '../../lib/ports/clock.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { RequestDone } from '../../proto/gen/messages.ts';
import type { GatewayConfig } from './config.ts';

export interface DoneRecorder {
  record(done: Body<RequestDone>): void;
  /** Resolves when nothing waits to be recorded, after `withinMs` at the latest. */
  settled(withinMs: number): Promise<void>;
}

const firstPauseMs = 200;
const longestPauseMs = 5_000;

export function createDoneRecorder(ports: Ports, config: GatewayConfig): DoneRecorder {
  const { bus, clock, telemetry } = ports;
  const failures = telemetry.counter('switchyard_audit_failures_total');
  const waiting = new Set<Promise<void>>();

  async function keepTrying(done: Body<RequestDone>): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await bus.record(requestDone, [done.pool], done, { id: done.requestId, timeoutMs: config.recordTimeoutMs });
      } catch (thrown) {
        if (attempt >= config.recordTries) return lose(done, String(thrown));
        await sleep(clock, Math.min(longestPauseMs, firstPauseMs * 2 ** (attempt - 1)));
      }
    }
  }

  function lose(done: Body<RequestDone>, error: string): void {
    failures.add(1, { kind: 'request_done' });
    telemetry.log.error('the end of a request was not recorded', { ...done, error });
  }

  return {
    record(done) {
      if (waiting.size >= config.maxUnrecorded) return lose(done, 'too many are waiting');
      const trying = keepTrying(done).finally(() => waiting.delete(trying));
      waiting.add(trying);
    },
    async settled(withinMs) {
      const stop = new AbortController();
      await Promise.race([Promise.all(waiting), sleep(clock, withinMs, stop.signal)]);
      stop.abort();
    },
  };
}
