// Telemetry that records in memory: for unit tests and the simulator. Refuses undeclared metrics, labels and attributes.
// Trace and span ids are counted, so that one seed gives one run.
import { AsyncLocalStorage } from 'node:async_hooks';
import type { SpanRecord } from '../../proto/gen/messages.ts';
import type { Clock } from '../ports/clock.ts';
import type { Attributes, AttributeValue, KeepReason, Logger, Span, SpanOptions, Telemetry, TraceContext } from '../ports/telemetry.ts';
import { checkAttributes, requestIdName } from './attributes.ts';
import { checkLabels, metricEntry } from './metrics.ts';
import { runInSpan } from './run-in-span.ts';
import { byStart, eventLine, type SpanSource, spansFoundMax } from './span-ring.ts';

export interface RecordedSpan {
  readonly name: string;
  readonly process: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly kind: NonNullable<SpanOptions['kind']>;
  readonly attributes: Record<string, AttributeValue>;
  readonly events: { readonly name: string; readonly atMs: number; readonly attributes: Attributes }[];
  readonly links: readonly TraceContext[];
  readonly startMs: number;
  /** Undefined while it runs. */
  endMs: number | undefined;
  /** The error code, when it failed. */
  failed: string | undefined;
  /** Why its trace is to be kept. */
  kept: KeepReason | undefined;
}

export interface RecordedLog {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly process: string;
  readonly atMs: number;
}

export interface MemoryTelemetry extends Telemetry {
  /** In order of their start. The newest 50,000 are kept. */
  readonly spans: RecordedSpan[];
  /** The newest 50,000 are kept. */
  readonly logs: RecordedLog[];
  /** Counters and gauges by `name{label="value"}` (labels sorted), or `name` without labels. */
  readonly counters: Map<string, number>;
  /** Observations of histograms, by the same keys. The newest 10,000 of each are kept. */
  readonly observations: Map<string, number[]>;
  /** Value of a counter or gauge; the sum over all label values when `labels` is absent. */
  value(name: string, labels?: Readonly<Record<string, string>>): number;
  /** For findSpans. */
  readonly ring: SpanSource;
}

const keptRecords = 50_000;
const keptObservations = 10_000;

/** What several processes of one test share: ids of spans, and the records themselves. */
export interface MemoryTelemetryOptions {
  readonly process?: string;
  readonly service?: string;
  /** Records into the lists of another one and counts ids with it, so that traces cross processes. */
  readonly sharing?: MemoryTelemetry;
}

const countersOfIds = new WeakMap<RecordedSpan[], { next: number }>();
const active = new AsyncLocalStorage<TraceContext | undefined>();

export function metricKey(name: string, labels?: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return pairs.length === 0 ? name : `${name}{${pairs.map(([label, value]) => `${label}="${value}"`).join(',')}}`;
}

export function createMemoryTelemetry(clock: Clock, options: MemoryTelemetryOptions = {}): MemoryTelemetry {
  const processName = options.process ?? 'test';
  const service = options.service ?? processName.replace(/-\w+$/, '');
  const spans = options.sharing?.spans ?? [];
  const logs = options.sharing?.logs ?? [];
  const counters = new Map<string, number>();
  const observations = new Map<string, number[]>();
  const ring: SpanSource = {
    find({ requestId, traceId }, most = spansFoundMax) {
      const own = spans.filter((span) => span.process === processName);
      const about = requestId === '' ? [] : own.filter((span) => span.attributes[requestIdName] === requestId);
      const traces = new Set([traceId, ...about.map((span) => span.traceId)]);
      const found = own.filter((span) => traces.has(span.traceId));
      return found
        .map((span) => toSpanRecord(span, service, clock.now()))
        .sort(byStart)
        .slice(0, most);
    },
  };
  const ids = countersOfIds.get(spans) ?? { next: 1 };
  countersOfIds.set(spans, ids);

  function keep<T>(list: T[], item: T): void {
    list.push(item);
    if (list.length > keptRecords) list.splice(0, keptRecords / 10);
  }

  const log = Object.fromEntries(
    (['debug', 'info', 'warn', 'error'] as const).map((level) => [
      level,
      (message: string, fields: Readonly<Record<string, unknown>> = {}) =>
        keep(logs, { level, message, fields, process: processName, atMs: clock.now() }),
    ]),
  ) as unknown as Logger;

  function start(name: string, spanOptions: SpanOptions = {}): Span {
    checkAttributes(spanOptions.attributes);
    const parent = parseTraceparent(spanOptions.parent ?? active.getStore());
    const number = ids.next++;
    const record: RecordedSpan = {
      name,
      process: processName,
      traceId: parent?.traceId ?? number.toString(16).padStart(32, '0'),
      spanId: number.toString(16).padStart(16, '0'),
      parentSpanId: parent?.spanId,
      kind: spanOptions.kind ?? 'internal',
      attributes: withoutUndefined(spanOptions.attributes),
      events: [],
      links: spanOptions.links ?? [],
      startMs: clock.now(),
      endMs: undefined,
      failed: undefined,
      kept: undefined,
    };
    keep(spans, record);
    return {
      traceId: record.traceId,
      context: { traceparent: `00-${record.traceId}-${record.spanId}-01` },
      set(attributes) {
        checkAttributes(attributes);
        Object.assign(record.attributes, withoutUndefined(attributes));
      },
      event(eventName, attributes = {}) {
        checkAttributes(attributes);
        if (record.events.length < 100) record.events.push({ name: eventName, atMs: clock.now(), attributes });
      },
      fail(code) {
        record.failed = code;
        record.attributes['error.type'] = code;
      },
      keep(reason) {
        record.kept ??= reason;
      },
      end() {
        record.endMs ??= clock.now();
      },
    };
  }

  function change(name: string, type: 'counter' | 'gauge', apply: (before: number, value: number) => number) {
    const entry = metricEntry(name, type);
    return (value: number, labels?: Readonly<Record<string, string>>) => {
      checkLabels(name, entry, labels);
      const key = metricKey(name, labels);
      counters.set(key, apply(counters.get(key) ?? 0, value));
    };
  }

  return {
    spans,
    logs,
    counters,
    observations,
    ring,
    log,
    start,
    span: (name, spanOptions, run) => runInSpan(start(name, spanOptions), (span, body) => active.run(span.context, body), run),
    within: (context, run) => active.run(context, run),
    active: () => active.getStore(),
    counter: (name) => ({ add: change(name, 'counter', (before, value) => before + value) }),
    gauge: (name) => ({ set: change(name, 'gauge', (_before, value) => value) }),
    histogram(name) {
      const entry = metricEntry(name, 'histogram');
      return {
        observe(value, labels) {
          checkLabels(name, entry, labels);
          const key = metricKey(name, labels);
          const list = observations.get(key) ?? [];
          if (list.push(value) > keptObservations) list.splice(0, keptObservations / 10);
          observations.set(key, list);
        },
      };
    },
    value(name, labels) {
      if (labels) return counters.get(metricKey(name, labels)) ?? 0;
      let sum = 0;
      for (const [key, value] of counters) if (key === name || key.startsWith(`${name}{`)) sum += value;
      return sum;
    },
  };
}

function parseTraceparent(context: TraceContext | undefined): { traceId: string; spanId: string } | undefined {
  const [, traceId, spanId] = context?.traceparent.split('-') ?? [];
  return traceId && spanId ? { traceId, spanId } : undefined;
}

function withoutUndefined(attributes: Attributes | undefined): Record<string, AttributeValue> {
  return Object.fromEntries(Object.entries(attributes ?? {}).filter((pair): pair is [string, AttributeValue] => pair[1] !== undefined));
}

function toSpanRecord(span: RecordedSpan, service: string, nowMs: number): SpanRecord {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId ?? '',
    name: span.name,
    service,
    process: span.process,
    startMs: span.startMs,
    endMs: span.endMs ?? nowMs,
    open: span.endMs === undefined,
    failed: span.failed !== undefined,
    attributesJson: JSON.stringify(span.attributes),
    events: span.events.map((event) => eventLine(event.name, event.attributes)),
    linkedTraceIds: span.links.map((link) => parseTraceparent(link)?.traceId ?? '').filter((id) => id !== ''),
  };
}
