// The newest spans of this process and those that have not ended, so that a request's journey can be shown without a
// tracing backend. At the limit the oldest span is forgotten; journeys of long ago are then incomplete, and a tracing
// backend has them. At their limit the oldest open span is not shown until it has ended.
import type { SpanRecord } from '../../proto/gen/messages.ts';

export interface SpanRing<T> {
  begin(span: T): void;
  /** It has ended. `taken`: `take` is not to return it. */
  add(span: T, taken?: boolean): void;
  /** Spans of every trace that touched the request, or of one trace, open ones too; by start time, at most `limit`. */
  find(query: { requestId: string; traceId: string }, limit?: number): SpanRecord[];
  /** Ended spans of these traces, each once: those taken before are left out. */
  take(traceIds: ReadonlySet<string>): T[];
}

/** What answers `findSpans`. */
export type SpanSource = Pick<SpanRing<never>, 'find'>;

/** Spans kept by default, and as many open ones. */
export const spanRingLimit = 20_000;

/** Called when spans are asked for, not when they begin or end. */
export interface SpanReader<T> {
  record(span: T): SpanRecord;
  traceId(span: T): string;
  /** The request that it says it is about. */
  requestId(span: T): string | undefined;
}

export function createSpanRing<T>(reader: SpanReader<T>, limit = spanRingLimit): SpanRing<T> {
  const spans: T[] = [];
  /** Of the spans at the same places. */
  const takenAt = new Uint8Array(limit);
  const open = new Set<T>();
  let oldest = 0;

  return {
    begin(span) {
      if (open.size >= limit) open.delete(open.values().next().value!);
      open.add(span);
    },
    add(span, taken = false) {
      open.delete(span);
      const full = spans.length === limit;
      const at = full ? oldest : spans.length;
      if (full) oldest = (oldest + 1) % limit;
      spans[at] = span;
      takenAt[at] = taken ? 1 : 0;
    },
    find({ requestId, traceId }, most = 2000) {
      const all = [...spans, ...open];
      const traces = new Set<string>();
      if (traceId !== '') traces.add(traceId);
      if (requestId !== '') for (const span of all) if (reader.requestId(span) === requestId) traces.add(reader.traceId(span));
      return all
        .filter((span) => traces.has(reader.traceId(span)))
        .map(reader.record)
        .sort((a, b) => a.startMs - b.startMs || (a.spanId < b.spanId ? -1 : 1))
        .slice(0, most);
    },
    take(traceIds) {
      return spans.filter((span, at) => {
        if (takenAt[at] === 1 || !traceIds.has(reader.traceId(span))) return false;
        takenAt[at] = 1;
        return true;
      });
    },
  };
}

/** The attribute of any span of ours that says which request it is about. */
export const requestIdName = 'switchyard.request.id';

export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** An event as a journey shows it: with its reason, where it has one. */
export function eventLine(name: string, attributes: Readonly<Record<string, unknown>> | undefined): string {
  const why = attributes?.['switchyard.reason'] ?? attributes?.['error.type'];
  return why === undefined ? name : `${name} (${String(why)})`;
}
