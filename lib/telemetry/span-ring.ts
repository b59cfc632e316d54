// The newest spans of this process and those that have not ended, so that a request's journey can be shown without a
// tracing backend. At the limit the oldest span is forgotten; journeys of long ago are then incomplete, and a tracing
// backend has them. At their limit the oldest open span is not shown until it has ended.
import { ChurnMap } from '../../core/collections/churn-map.ts';
import type { SpanRecord } from '../../proto/gen/messages.ts';
import { requestIdName } from './attributes.ts';
import type { SpanFacts } from './recorded-span.ts';
import { createSpanBytes, type SpanBytes } from './span-bytes.ts';

export interface SpanRing<T extends SpanFacts> {
  begin(span: T): void;
  /** It has ended. `taken`: `take` is not to return it. */
  add(span: T, taken?: boolean): void;
  /** Spans of every trace that touched the request, or of one trace, open ones too; by start time, at most `most`. */
  find(query: SpanQuery, most?: number): SpanRecord[];
  /** Ended spans of these traces, each once: those taken before are left out. */
  readonly take: SpanBytes['take'];
}

/** One of both; the other is ''. */
export interface SpanQuery {
  readonly requestId: string;
  readonly traceId: string;
}

/** What answers `findSpans`. */
export type SpanSource = Pick<SpanRing<never>, 'find'>;

export interface SpanRingLimits {
  /** Ended spans, and as many open ones. */
  readonly maxSpans: number;
  /** Of the ended ones: some 160 to 410 each. */
  readonly maxBytes: number;
}

/** What a process keeps. */
export const spanRingLimits: SpanRingLimits = { maxSpans: 20_000, maxBytes: 8 << 20 };
/** Spans in one answer. */
export const spansFoundMax = 2000;

export function createSpanRing<T extends SpanFacts>(record: (span: SpanFacts) => SpanRecord, limits = spanRingLimits): SpanRing<T> {
  const ended = createSpanBytes(limits);
  const open = new ChurnMap<string, T>();

  return {
    begin(span) {
      if (open.size >= limits.maxSpans) open.delete(open.keys().next().value!);
      open.set(span.context.spanId, span);
    },
    add(span, taken = false) {
      open.delete(span.context.spanId);
      ended.add(span, taken);
    },
    find({ requestId, traceId }, most = spansFoundMax) {
      const traces = requestId === '' ? new Set<string>() : ended.tracesAbout(requestId);
      if (traceId !== '') traces.add(traceId);
      if (requestId !== '') for (const span of open.values()) if (span.attributes[requestIdName] === requestId) traces.add(span.context.traceId);
      const running = [...open.values()].filter(({ context }) => traces.has(context.traceId));
      return [...ended.ofTraces(traces), ...running].map(record).sort(byStart).slice(0, most);
    },
    take: ended.take,
  };
}

export function byStart(a: SpanRecord, b: SpanRecord): number {
  return a.startMs - b.startMs || (a.spanId < b.spanId ? -1 : 1);
}

/** An event as a journey shows it: with its reason, where it has one. */
export function eventLine(name: string, attributes: Readonly<Record<string, unknown>> | undefined): string {
  const why = attributes?.['switchyard.reason'] ?? attributes?.['error.type'];
  return why === undefined ? name : `${name} (${String(why)})`;
}
