// A span as exporters of OpenTelemetry read it, made when they do.
import { type Attributes, type HrTime, type Link, type SpanContext, SpanKind, type SpanStatus, SpanStatusCode, TraceFlags } from '@opentelemetry/api';
import type { Resource } from '@opentelemetry/resources';
import type { ReadableSpan, TimedEvent } from '@opentelemetry/sdk-trace';
import type { SpanFacts } from './recorded-span.ts';
import type { TracePlace } from './trace-place.ts';

const kinds: Record<SpanFacts['kind'], SpanKind> = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
};

export interface ExportSource {
  readonly resource: Resource;
  readonly instrumentationScope: ReadableSpan['instrumentationScope'];
}

export class ExportedSpan implements ReadableSpan {
  readonly droppedAttributesCount = 0;
  readonly droppedLinksCount = 0;
  readonly ended = true;
  readonly #span: SpanFacts;
  readonly #source: ExportSource;

  constructor(span: SpanFacts, source: ExportSource) {
    this.#span = span;
    this.#source = source;
  }

  get name(): string {
    return this.#span.name;
  }

  get kind(): SpanKind {
    return kinds[this.#span.kind];
  }

  get resource(): Resource {
    return this.#source.resource;
  }

  get instrumentationScope(): ReadableSpan['instrumentationScope'] {
    return this.#source.instrumentationScope;
  }

  /** Whoever exports a span has decided that it is: exporters leave out what is not sampled. */
  spanContext = (): SpanContext => ({ ...contextOf(this.#span.context), traceFlags: TraceFlags.SAMPLED });

  get parentSpanContext(): SpanContext | undefined {
    const { parent } = this.#span;
    return parent && contextOf(parent);
  }

  get startTime(): HrTime {
    return toHrTime(this.#span.startMs);
  }

  get endTime(): HrTime {
    return toHrTime(this.#span.endMs);
  }

  get duration(): HrTime {
    return toHrTime(this.#span.endMs - this.#span.startMs);
  }

  get status(): SpanStatus {
    const { failed, failure } = this.#span;
    if (!failed) return { code: SpanStatusCode.UNSET };
    return failure === undefined ? { code: SpanStatusCode.ERROR } : { code: SpanStatusCode.ERROR, message: failure };
  }

  get attributes(): Attributes {
    return this.#span.attributes;
  }

  get links(): Link[] {
    return this.#span.links.map((link) => ({ context: contextOf(link) }));
  }

  get events(): TimedEvent[] {
    return this.#span.events.map(({ name, atMs, attributes }) => ({ name, time: toHrTime(atMs), ...(attributes && { attributes }) }));
  }

  get droppedEventsCount(): number {
    return this.#span.droppedEvents;
  }
}

function contextOf({ traceId, spanId, sampled, remote }: TracePlace): SpanContext {
  return { traceId, spanId, traceFlags: sampled ? TraceFlags.SAMPLED : TraceFlags.NONE, isRemote: remote };
}

/** Whole microseconds: Zipkin refuses a whole batch for a fraction of one. */
function toHrTime(unixMs: number): HrTime {
  const seconds = Math.trunc(unixMs / 1000);
  return [seconds, Math.min(Math.round((unixMs - seconds * 1000) * 1000), 999_999) * 1000];
}
