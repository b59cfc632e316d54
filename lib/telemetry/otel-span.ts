// One span of OpenTelemetry as lib/ports/telemetry.ts describes it, and the conversions between the two.
import * as api from '@opentelemetry/api';
import { hrTimeToMilliseconds } from '@opentelemetry/core';
import type { ReadableSpan } from '@opentelemetry/sdk-trace';
import type { SpanRecord } from '../../proto/gen/messages.ts';
import type { Attributes, KeepReason, Span, SpanOptions, TraceContext } from '../ports/telemetry.ts';
import { eventLine } from './span-ring.ts';

export const spanKinds: Record<NonNullable<SpanOptions['kind']>, api.SpanKind> = {
  internal: api.SpanKind.INTERNAL,
  server: api.SpanKind.SERVER,
  client: api.SpanKind.CLIENT,
  producer: api.SpanKind.PRODUCER,
  consumer: api.SpanKind.CONSUMER,
};

export class OtelSpan implements Span {
  readonly inner: api.Span;
  readonly #now: () => api.HrTime;
  readonly #keep: ((traceId: string, reason: KeepReason) => void) | undefined;
  #context: TraceContext | undefined;

  /** Times are given to the SDK, which on its own takes whole milliseconds and shows children before their parents. */
  constructor(inner: api.Span, now: () => api.HrTime, keep?: (traceId: string, reason: KeepReason) => void) {
    this.inner = inner;
    this.#now = now;
    this.#keep = keep;
  }

  get traceId(): string {
    return this.inner.spanContext().traceId;
  }

  get context(): TraceContext {
    this.#context ??= toTraceContext(this.inner.spanContext());
    return this.#context;
  }

  set(attributes: Attributes): void {
    for (const name in attributes) {
      const value = attributes[name];
      if (value !== undefined) this.inner.setAttribute(name, value);
    }
  }

  event(name: string, attributes?: Attributes): void {
    this.inner.addEvent(name, attributes as api.Attributes, this.#now());
  }

  fail(code: string, message?: string): void {
    this.inner.setAttribute('error.type', code);
    this.inner.setStatus(message === undefined ? { code: api.SpanStatusCode.ERROR } : { code: api.SpanStatusCode.ERROR, message });
  }

  keep(reason: KeepReason): void {
    const { traceId, traceFlags } = this.inner.spanContext();
    if ((traceFlags & api.TraceFlags.SAMPLED) === 0) this.#keep?.(traceId, reason);
  }

  end(): void {
    this.inner.end(this.#now());
  }
}

/** Whole microseconds: Zipkin refuses a whole batch for a fraction of one. */
export function toHrTime(unixMs: number): api.HrTime {
  const seconds = Math.trunc(unixMs / 1000);
  return [seconds, Math.min(Math.round((unixMs - seconds * 1000) * 1000), 999_999) * 1000];
}

/** A span of this process, as a parent of others: what it is made from need not be read back from text. */
class OwnContext implements TraceContext {
  readonly traceparent: string;
  readonly #spanContext: api.SpanContext;

  constructor(spanContext: api.SpanContext) {
    const { traceId, spanId, traceFlags } = spanContext;
    this.traceparent = `00-${traceId}-${spanId}-${(traceFlags & 0xff).toString(16).padStart(2, '0')}`;
    this.#spanContext = spanContext;
  }

  static spanContextOf(context: OwnContext): api.SpanContext {
    return context.#spanContext;
  }
}

const traceparentPattern = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})/;

export function toTraceContext(context: api.SpanContext): TraceContext {
  return new OwnContext(context);
}

/** Undefined for anything that is not a valid traceparent: it may come from a client. */
export function toSpanContext(context: TraceContext | undefined): api.SpanContext | undefined {
  if (context instanceof OwnContext) return OwnContext.spanContextOf(context);
  const match = context && traceparentPattern.exec(context.traceparent);
  if (!match) return undefined;
  const found = { traceId: match[1]!, spanId: match[2]!, traceFlags: Number.parseInt(match[3]!, 16), isRemote: true };
  return api.isSpanContextValid(found) ? found : undefined;
}

export function isSampled(span: ReadableSpan): boolean {
  return (span.spanContext().traceFlags & api.TraceFlags.SAMPLED) !== 0;
}

/** The same span, such that an exporter takes it. */
export function asSampled(span: ReadableSpan): ReadableSpan {
  const context = { ...span.spanContext(), traceFlags: span.spanContext().traceFlags | api.TraceFlags.SAMPLED };
  return {
    name: span.name,
    kind: span.kind,
    spanContext: () => context,
    ...(span.parentSpanContext ? { parentSpanContext: span.parentSpanContext } : {}),
    startTime: span.startTime,
    endTime: span.endTime,
    status: span.status,
    attributes: span.attributes,
    links: span.links,
    events: span.events,
    duration: span.duration,
    ended: span.ended,
    resource: span.resource,
    instrumentationScope: span.instrumentationScope,
    droppedAttributesCount: span.droppedAttributesCount,
    droppedEventsCount: span.droppedEventsCount,
    droppedLinksCount: span.droppedLinksCount,
  };
}

export function toSpanRecord(span: ReadableSpan, service: string, process: string): SpanRecord {
  const { traceId, spanId } = span.spanContext();
  return {
    traceId,
    spanId,
    parentSpanId: span.parentSpanContext?.spanId ?? '',
    name: span.name,
    service,
    process,
    startMs: hrTimeToMilliseconds(span.startTime),
    endMs: hrTimeToMilliseconds(span.endTime),
    failed: span.status.code === api.SpanStatusCode.ERROR,
    attributesJson: JSON.stringify(span.attributes),
    events: span.events.map((event) => eventLine(event.name, event.attributes)),
    linkedTraceIds: span.links.map((link) => link.context.traceId),
  };
}
