// Tells the end of requests whose gateway is gone: what they had produced is known here alone, and is to be paid. A closed
// link does not say which it was, a dead gateway or a lost connection, so all gateways are asked, twice, whether any of
// them knows the request still. Settling is idempotent by request id; the first end that is told counts, and so nothing is
// said as long as somebody else may say it better.
import { listRequests, requestsDone } from '../../lib/contracts.ts';
import { sleep } from '../../lib/ports/clock.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { RequestDone, SequenceStatus } from '../../proto/gen/messages.ts';
import type { OpenedStream } from './actor.ts';
import type { AgentConfig } from './config.ts';

export interface Orphans {
  /** Streams of a closed link, and what the engine says of its sequences. */
  take(
    at: { readonly instanceId: string; readonly pool: string; readonly model: string },
    streams: readonly OpenedStream[],
    sequences: readonly SequenceStatus[],
  ): void;
  /** Nothing more is told. */
  stop(): void;
}

/** Requests that are waited for. What comes beyond is not told; its reservation runs out. */
const maxOrphans = 10_000;
const asks = 2;
const askMs = 2_000;
/** Failed questions, with `orphanMs` between them, before the ends are given up. */
const maxFailures = 40;
/** Ends in one message, about 300 bytes each. */
const maxTogether = 256;

export function createOrphans({ orphanMs }: Pick<AgentConfig, 'orphanMs'>, { bus, clock, rng, telemetry }: Ports): Orphans {
  const failures = telemetry.counter('switchyard_audit_failures_total');
  const stopping = new AbortController();
  let waiting = 0;

  /** Those that no gateway knows. @throws SwitchyardError `bus_unavailable` */
  async function unknown(ended: readonly RequestDone[]): Promise<RequestDone[]> {
    const replies = await bus.gather(listRequests, [], { includeEnded: true }, { timeoutMs: askMs });
    const known = new Set(replies.flatMap(({ requests }) => requests.map(({ requestId }) => requestId)));
    return ended.filter(({ requestId }) => !known.has(requestId));
  }

  async function tell(ended: readonly RequestDone[]): Promise<void> {
    for (let start = 0; start < ended.length; start += maxTogether) {
      const part = ended.slice(start, start + maxTogether);
      await bus.record(requestsDone, [part[0]!.pool], { ended: part }, { id: rng.id('orphans-') });
    }
    telemetry.log.info('ends told of requests whose gateway is gone', { pool: ended[0]!.pool, count: ended.length });
  }

  async function watch(orphans: readonly RequestDone[]): Promise<void> {
    let left = orphans;
    let failed = 0;
    for (let asked = 0; asked < asks; ) {
      await sleep(clock, orphanMs / asks, stopping.signal);
      if (stopping.signal.aborted) return;
      try {
        left = await unknown(left);
        if (left.length === 0) return;
        asked += 1;
        if (asked === asks) await tell(left);
      } catch (thrown) {
        // From the beginning: gateways may have been cut off as well.
        asked = 0;
        failed += 1;
        if (failed === maxFailures) return lose(left, String(thrown));
      }
    }
  }

  function lose(ended: readonly RequestDone[], error: string): void {
    failures.add(ended.length, { kind: 'request_done' });
    telemetry.log.error('the ends of requests were not recorded', { requests: ended.map(({ requestId }) => requestId).join(' '), error });
  }

  return {
    take(at, streams, sequences) {
      const running = new Map(sequences.map((sequence) => [sequence.requestId, sequence]));
      const ended = streams.flatMap((stream) => {
        const sequence = running.get(stream.requestId);
        return sequence?.epoch === stream.epoch ? [endOf(at, stream, sequence, clock.now())] : [];
      });
      if (ended.length === 0) return;
      if (waiting + ended.length > maxOrphans) {
        lose(ended, 'too many are waiting');
        return;
      }
      waiting += ended.length;
      void watch(ended).finally(() => {
        waiting -= ended.length;
      });
    },
    stop: () => stopping.abort(),
  };
}

/** As its gateway would have told it, had the client left now. */
function endOf(
  { instanceId, pool, model }: { readonly instanceId: string; readonly pool: string; readonly model: string },
  { requestId, epoch, keyId, sloClass }: OpenedStream,
  { promptTokens, outputTokens, arrivalMs, gatewayId, traceparent }: SequenceStatus,
  endMs: number,
): RequestDone {
  return {
    ...{ requestId, pool, model, keyId, instanceId, epoch, outcome: 'failed', code: 'stream_interrupted' },
    promptTokens: outputTokens > 0 ? promptTokens : 0,
    ...{ cachedTokens: 0, outputTokens, arrivalMs, firstTokenMs: 0, endMs, migrations: 0, failovers: 0 },
    ...{ sloClass, gatewayId, traceId: traceparent.split('-')[1] ?? '' },
  };
}
