// Writes decision records to the store beside the hot path: a bounded buffer that is written at intervals, in one
// operation. A full buffer drops the newest record, an unreachable store drops what it was given; both are counted.
// Decisions never wait for records.
import { type Clock, sleep } from '../../lib/ports/clock.ts';
import type { Store } from '../../lib/ports/store.ts';
import type { Telemetry } from '../../lib/ports/telemetry.ts';
import { DecisionRecord } from '../../proto/gen/messages.ts';

/** Records kept per request: one per decision, and a request has few. */
const recordsPerRequest = 16;
/** A record is written this long after the decision, when the store keeps up. */
const gatherMs = 25;
/** Of one operation, so that it keeps the store from others for a millisecond or two. */
const recordsPerWrite = 128;

export interface DecisionLog {
  write(record: DecisionRecord): void;
  /** Writes what is waiting at once. Resolves when everything that was written has been stored or dropped. */
  flushed(): Promise<void>;
}

export function createDecisionLog(options: { store: Store; telemetry: Telemetry; clock: Clock; buffer: number; ttlMs: number }): DecisionLog {
  const { store, telemetry, clock, ttlMs } = options;
  const dropped = telemetry.counter('switchyard_decision_records_dropped_total');
  const waiting: DecisionRecord[] = [];
  let writing: Promise<void> | undefined;
  let hurry = new AbortController();

  async function append(records: readonly DecisionRecord[]): Promise<void> {
    const entries = records.map((record) => ({ key: `decision/${record.requestId}`, value: DecisionRecord.encode(record) }));
    try {
      await store.append(entries, { max: recordsPerRequest, ttlMs });
    } catch (thrown) {
      dropped.add(records.length, { cause: 'store' });
      telemetry.log.debug('decision records not written', { records: records.length, error: String(thrown) });
    }
  }

  async function writeAll(): Promise<void> {
    hurry = new AbortController();
    await sleep(clock, gatherMs, hurry.signal);
    while (waiting.length > 0) await append(waiting.splice(0, recordsPerWrite));
    writing = undefined;
  }

  return {
    write(record) {
      if (waiting.length >= options.buffer) {
        dropped.add(1, { cause: 'buffer_full' });
        return;
      }
      waiting.push(record);
      writing ??= writeAll();
    },
    async flushed() {
      hurry.abort();
      await writing;
    },
  };
}
