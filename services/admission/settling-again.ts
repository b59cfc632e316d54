// Settles ended requests once more, from their record on the bus, after every reconnect of the store and at the start: the
// store may have lost what it had confirmed last. Settling is idempotent by request id, so whatever it still has is not
// charged again. Costs nothing while the store stays. docs/decisions/0021-what-redis-confirms.md.
import { oldestRepeatMs, type Repeat, repeatAfter } from '../../core/admission/repeat-from.ts';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { requestsDone } from '../../lib/contracts.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import { type Clock, sleep } from '../../lib/ports/clock.ts';
import type { Store } from '../../lib/ports/store.ts';
import type { Telemetry } from '../../lib/ports/telemetry.ts';
import type { RequestDone } from '../../proto/gen/messages.ts';

/** Messages of the record that are looked at each time. What ended in more of them is settled only by what the store has kept. */
const maxRepeated = 10_000;
const atOnce = 32;
const retryMs = 1_000;

export interface SettlingAgain {
  stop(): Promise<void>;
}

export interface SettlingAgainOptions {
  readonly bus: Bus;
  readonly store: Store;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Idempotent. @throws SwitchyardError while the store is away */
  readonly settle: (ended: readonly RequestDone[]) => Promise<void>;
}

export function settleAgain({ bus, store, clock, telemetry, settle }: SettlingAgainOptions): SettlingAgain {
  const stopping = new AbortController();
  let last: Repeat | undefined;
  let losses = 0;
  /** What is due. At the start the store may have come back just before, from a loss at any time: the newest ends then. */
  let newest = true;
  let fromMs = Number.POSITIVE_INFINITY;
  let working: Promise<void> | undefined = work();

  async function recordedEnds(): Promise<RequestDone[]> {
    const oldestMs = clock.now() - oldestRepeatMs;
    const latest = newest ? (await bus.recorded(requestsDone, maxRepeated)).filter(({ meta }) => (meta?.sentAtMs ?? 0) > oldestMs) : [];
    const since = Number.isFinite(fromMs) ? await bus.recorded(requestsDone, maxRepeated, { sinceMs: Math.max(fromMs, oldestMs) }) : [];
    return [...latest, ...since].flatMap(({ ended }) => ended);
  }

  async function repeat(): Promise<void> {
    const ended = await recordedEnds();
    for (let start = 0; start < ended.length && !stopping.signal.aborted; start += atOnce) {
      await settle(ended.slice(start, start + atOnce));
    }
    telemetry.log.info('ended requests settled once more', { count: ended.length });
  }

  /** Until all is done. A loss meanwhile begins it again. */
  async function work(): Promise<void> {
    while (!stopping.signal.aborted) {
      const at = losses;
      try {
        if (!store.connected()) throw new SwitchyardError('store_unavailable', 'store is away');
        await repeat();
        if (losses !== at) continue;
        newest = false;
        fromMs = Number.POSITIVE_INFINITY;
        working = undefined;
        return;
      } catch (thrown) {
        telemetry.log.debug('ended requests are settled once more later', { error: String(thrown) });
        await sleep(clock, retryMs, stopping.signal);
      }
    }
  }

  const cancel = store.onReconnect((lostAtMs) => {
    losses++;
    last = repeatAfter(lostAtMs, clock.now(), last);
    fromMs = Math.min(fromMs, last.fromMs);
    working ??= work();
  });

  return {
    async stop() {
      cancel();
      stopping.abort();
      await working;
    },
  };
}
