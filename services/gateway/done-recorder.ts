// Records the ends of requests in their stream, which admission settles by: those of a pool that end within a few
// milliseconds travel in one message. What cannot be recorded is tried again for a while.
import { requestsDone } from '../../lib/contracts.ts';
import { type Cancel, sleep } from '../../lib/ports/clock.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { RequestDone } from '../../proto/gen/messages.ts';
import type { GatewayConfig } from './config.ts';

export interface DoneRecorder {
  record(done: RequestDone): void;
  /** Resolves when nothing waits to be recorded, after `withinMs` at the latest. */
  settled(withinMs: number): Promise<void>;
}

/** Of one pool: the first end after a pause leaves at once, those that follow within this time together. */
const gatherMs = 10;
/** Ends in one message, about 300 bytes each. */
const maxTogether = 256;
const firstPauseMs = 200;
const longestPauseMs = 5_000;

interface Gathering {
  ended: RequestDone[];
  sentAtMs: number;
  cancel: Cancel | undefined;
}

export function createDoneRecorder(ports: Ports, config: GatewayConfig): DoneRecorder {
  const { bus, clock, rng, telemetry } = ports;
  const failures = telemetry.counter('switchyard_audit_failures_total');
  const gatherings = new Map<string, Gathering>();
  const sending = new Set<Promise<void>>();
  let unrecorded = 0;

  async function keepTrying(pool: string, ended: readonly RequestDone[]): Promise<void> {
    const id = rng.id('done-');
    for (let attempt = 1; ; attempt++) {
      try {
        return await bus.record(requestsDone, [pool], { ended }, { id, timeoutMs: config.recordTimeoutMs });
      } catch (thrown) {
        if (attempt >= config.recordTries) return lose(ended, String(thrown));
        await sleep(clock, Math.min(longestPauseMs, firstPauseMs * 2 ** (attempt - 1)));
      }
    }
  }

  function lose(ended: readonly RequestDone[], error: string): void {
    failures.add(ended.length, { kind: 'request_done' });
    for (const done of ended) telemetry.log.error('the end of a request was not recorded', { ...done, error });
  }

  function send(pool: string, gathering: Gathering): void {
    const { ended } = gathering;
    gathering.cancel?.();
    gathering.cancel = undefined;
    gathering.ended = [];
    gathering.sentAtMs = clock.now();
    const trying = keepTrying(pool, ended).finally(() => {
      unrecorded -= ended.length;
      sending.delete(trying);
    });
    sending.add(trying);
  }

  function gatheringOf(pool: string): Gathering {
    const known = gatherings.get(pool);
    if (known) return known;
    const gathering: Gathering = { ended: [], sentAtMs: Number.NEGATIVE_INFINITY, cancel: undefined };
    gatherings.set(pool, gathering);
    return gathering;
  }

  return {
    record(done) {
      if (unrecorded >= config.maxUnrecorded) return lose([done], 'too many are waiting');
      unrecorded += 1;
      const { pool } = done;
      const gathering = gatheringOf(pool);
      const waitMs = gathering.sentAtMs + gatherMs - clock.now();
      if (gathering.ended.push(done) >= maxTogether || waitMs <= 0) send(pool, gathering);
      else gathering.cancel ??= clock.after(waitMs, () => send(pool, gathering));
    },
    async settled(withinMs) {
      for (const [pool, gathering] of gatherings) if (gathering.ended.length > 0) send(pool, gathering);
      const stop = new AbortController();
      await Promise.race([Promise.all(sending), sleep(clock, withinMs, stop.signal)]);
      stop.abort();
    },
  };
}
