// The newest spans of this process, so that a request's journey can be shown without a tracing backend.
// At the limit the oldest span is forgotten; journeys of long ago are then incomplete, and a tracing backend has them.
import type { SpanRecord } from '../../proto/gen/messages.ts';

export interface SpanRing<T> {
  /** `taken`: `take` is not to return it. */
  add(span: T, traceId: string, requestId: string | undefined, taken?: boolean): void;
  /** Spans of every trace that touched the request, or of one trace; by start time, at most `limit`. */
  find(query: { requestId: string; traceId: string }, limit?: number): SpanRecord[];
  /** Spans of these traces, each once: those taken before are left out. */
  take(traceIds: ReadonlySet<string>): T[];
}

/** What answers `findSpans`. */
export type SpanSource = Pick<SpanRing<never>, 'find'>;

/** Spans kept by default. */
export const spanRingLimit = 20_000;

/** `convert` runs when spans are asked for, not when they end. */
export function createSpanRing<T>(convert: (span: T) => SpanRecord, limit = spanRingLimit): SpanRing<T> {
  const entries: { span: T; traceId: string; requestId: string | undefined; taken: boolean }[] = [];
  let oldest = 0;

  return {
    add(span, traceId, requestId, taken = false) {
      const entry = { span, traceId, requestId, taken };
      if (entries.length < limit) {
        entries.push(entry);
        return;
      }
      entries[oldest] = entry;
      oldest = (oldest + 1) % limit;
    },
    find({ requestId, traceId }, most = 2000) {
      const traces = new Set<string>();
      if (traceId !== '') traces.add(traceId);
      if (requestId !== '') for (const entry of entries) if (entry.requestId === requestId) traces.add(entry.traceId);
      return entries
        .filter((entry) => traces.has(entry.traceId))
        .map((entry) => convert(entry.span))
        .sort((a, b) => a.startMs - b.startMs || (a.spanId < b.spanId ? -1 : 1))
        .slice(0, most);
    },
    take(traceIds) {
      return entries.flatMap((entry) => {
        if (entry.taken || !traceIds.has(entry.traceId)) return [];
        entry.taken = true;
        return [entry.span];
      });
    },
  };
}

/** An event as a journey shows it: with its reason, where it has one. */
export function eventLine(name: string, attributes: Readonly<Record<string, unknown>> | undefined): string {
  const why = attributes?.['switchyard.reason'] ?? attributes?.['error.type'];
  return why === undefined ? name : `${name} (${String(why)})`;
}
