// One span while it runs and after. The SDK's own span cleans, checks and clocks what this project never gets wrong, at three
// times the price (docs/decisions/0022-own-spans.md); exporters get what they read from it in exported-span.ts.
import type { SpanRecord } from '../../proto/gen/messages.ts';
import type { Attributes, AttributeValue, KeepReason, Span, SpanOptions } from '../ports/telemetry.ts';
import { eventLine } from './span-ring.ts';
import { placeOf, type TracePlace } from './trace-place.ts';

/** Further events of one span are counted only. */
export const maxEvents = 128;

export interface SpanEvent {
  readonly name: string;
  readonly atMs: number;
  readonly attributes: Attributes | undefined;
}

/** What is known of a span, running or read back. */
export interface SpanFacts {
  readonly context: TracePlace;
  readonly parent: TracePlace | undefined;
  readonly name: string;
  readonly kind: NonNullable<SpanOptions['kind']>;
  readonly links: readonly TracePlace[];
  readonly startMs: number;
  /** 0: not yet. */
  readonly endMs: number;
  readonly failed: boolean;
  readonly failure: string | undefined;
  /** Attributes as they were given, the newest last. */
  readonly given: readonly Attributes[];
  readonly attributes: Record<string, AttributeValue>;
  readonly events: readonly SpanEvent[];
  readonly droppedEvents: number;
}

/** What the spans of one service share. */
export interface SpanKeeper {
  now(): number;
  began(span: RecordedSpan): void;
  ended(span: RecordedSpan): void;
  keep: ((traceId: string, reason: KeepReason) => void) | undefined;
}

export class RecordedSpan implements Span, SpanFacts {
  readonly context: TracePlace;
  readonly parent: TracePlace | undefined;
  readonly name: string;
  readonly kind: SpanFacts['kind'];
  readonly links: readonly TracePlace[];
  readonly startMs: number;
  events: readonly SpanEvent[] = noEvents;
  endMs = 0;
  failed = false;
  failure: string | undefined;
  droppedEvents = 0;
  /** Most spans are never read, and putting them together costs more than all else here. */
  given: readonly Attributes[] = noAttributes;
  readonly #keeper: SpanKeeper;
  readonly #recording: boolean;

  constructor(
    name: string,
    place: { own: TracePlace; parent: TracePlace | undefined; recording: boolean },
    { kind = 'internal', links = [], attributes }: SpanOptions,
    keeper: SpanKeeper,
  ) {
    this.name = name;
    this.context = place.own;
    this.parent = place.parent;
    this.kind = kind;
    this.links = links.length === 0 ? none : links.flatMap((link) => placeOf(link) ?? []);
    this.#keeper = keeper;
    this.#recording = place.recording;
    this.startMs = keeper.now();
    if (attributes) this.set(attributes);
    if (this.#recording) keeper.began(this);
  }

  get traceId(): string {
    return this.context.traceId;
  }

  get ended(): boolean {
    return this.endMs > 0;
  }

  /** `attributes` is kept: it does not change any more. */
  set(attributes: Attributes): void {
    if (!this.#recording || this.ended) return;
    this.given = this.given.length === 0 ? [attributes] : [...this.given, attributes];
  }

  get attributes(): Record<string, AttributeValue> {
    const all: Record<string, AttributeValue> = {};
    for (const attributes of this.given) {
      for (const name in attributes) {
        const value = attributes[name];
        if (value !== undefined) all[name] = value;
      }
    }
    return all;
  }

  event(name: string, attributes?: Attributes): void {
    if (!this.#recording || this.ended) return;
    if (this.events.length >= maxEvents) this.droppedEvents += 1;
    else {
      const event: SpanEvent = { name, atMs: this.#keeper.now(), attributes };
      if (this.events === noEvents) this.events = [event];
      else (this.events as SpanEvent[]).push(event);
    }
  }

  fail(code: string, message?: string): void {
    this.set({ 'error.type': code });
    this.failed = true;
    this.failure = message;
  }

  keep(reason: KeepReason): void {
    if (!this.context.sampled) this.#keeper.keep?.(this.traceId, reason);
  }

  end(): void {
    if (this.ended) return;
    this.endMs = Math.max(this.startMs, this.#keeper.now());
    if (this.#recording) this.#keeper.ended(this);
  }
}

const none: readonly TracePlace[] = [];
const noEvents: readonly SpanEvent[] = [];
const noAttributes: readonly Attributes[] = [];

/** `nowMs`: where an open span is drawn to. */
export function toSpanRecord(span: SpanFacts, service: string, process: string, nowMs: number): SpanRecord {
  return {
    traceId: span.context.traceId,
    spanId: span.context.spanId,
    parentSpanId: span.parent?.spanId ?? '',
    name: span.name,
    service,
    process,
    startMs: span.startMs,
    endMs: span.endMs || nowMs,
    open: span.endMs === 0,
    failed: span.failed,
    attributesJson: JSON.stringify(span.attributes),
    events: span.events.map((event) => eventLine(event.name, event.attributes)),
    linkedTraceIds: span.links.map((link) => link.traceId),
  };
}
