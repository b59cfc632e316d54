// The newest spans of this process, so that a request's journey can be shown without a tracing backend.
// At the limit the oldest span is forgotten; journeys of long ago are then incomplete, and a tracing backend has them.
import type { SpanRecord } from '../../proto/gen/messages.ts';

export interface SpanRing {
  add(span: SpanRecord, requestId: string | undefined): void;
  /** Spans of every trace that touched the request, or of one trace; by start time, at most `limit`. */
  find(query: { requestId: string; traceId: string }, limit?: number): SpanRecord[];
  all(): SpanRecord[];
}

/** Spans kept by default. */
export const spanRingLimit = 20_000;

export function createSpanRing(limit = spanRingLimit): SpanRing {
  const spans: { record: SpanRecord; requestId: string | undefined }[] = [];
  let oldest = 0;

  return {
    add(record, requestId) {
      if (spans.length < limit) {
        spans.push({ record, requestId });
        return;
      }
      spans[oldest] = { record, requestId };
      oldest = (oldest + 1) % limit;
    },
    find({ requestId, traceId }, most = 2000) {
      const traces = new Set<string>();
      if (traceId !== '') traces.add(traceId);
      if (requestId !== '') for (const span of spans) if (span.requestId === requestId) traces.add(span.record.traceId);
      return spans
        .filter((span) => traces.has(span.record.traceId))
        .map((span) => span.record)
        .sort((a, b) => a.startMs - b.startMs || (a.spanId < b.spanId ? -1 : 1))
        .slice(0, most);
    },
    all: () => [...spans.slice(oldest), ...spans.slice(0, oldest)].map((span) => span.record),
  };
}
