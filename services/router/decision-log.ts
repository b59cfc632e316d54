// Writes decision records to the store beside the hot path: a bounded buffer, one writer. A full buffer drops the
// newest record, an unreachable store drops what it was given; both are counted. Decisions never wait for records.
import type { Store } from '../../lib/ports/store.ts';
import type { Telemetry } from '../../lib/ports/telemetry.ts';
import { DecisionRecord } from '../../proto/gen/messages.ts';

/** Records kept per request: one per decision, and a request has few. */
const recordsPerRequest = 16;
/** Appends under way at once. */
const concurrency = 16;

export interface DecisionLog {
  write(record: DecisionRecord): void;
  /** Resolves when everything that was written has been stored or dropped. */
  flushed(): Promise<void>;
}

export function createDecisionLog(options: { store: Store; telemetry: Telemetry; buffer: number; ttlMs: number }): DecisionLog {
  const { store, telemetry } = options;
  const dropped = telemetry.counter('switchyard_decision_records_dropped_total');
  const waiting: DecisionRecord[] = [];
  let writing: Promise<void> | undefined;

  async function append(record: DecisionRecord): Promise<void> {
    try {
      await store.append(`decision/${record.requestId}`, DecisionRecord.encode(record), { max: recordsPerRequest, ttlMs: options.ttlMs });
    } catch (thrown) {
      dropped.add(1, { cause: 'store' });
      telemetry.log.debug('decision record not written', { request: record.requestId, error: String(thrown) });
    }
  }

  async function writeAll(): Promise<void> {
    while (waiting.length > 0) await Promise.all(waiting.splice(0, concurrency).map(append));
    writing = undefined;
  }

  return {
    write(record) {
      if (waiting.length >= options.buffer) {
        dropped.add(1, { cause: 'buffer_full' });
        return;
      }
      waiting.push(record);
      // Begins in a microtask, when the answer to the batch is on its way.
      writing ??= Promise.resolve().then(writeAll);
    },
    flushed: async () => writing,
  };
}
