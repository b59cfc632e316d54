// Spans, metrics and logs. Production: OpenTelemetry and Prometheus; twin: records in memory.

export type AttributeValue = string | number | boolean;
export type Attributes = Readonly<Record<string, AttributeValue | undefined>>;

/** Opaque: where a span hangs in its trace. */
export interface TraceContext {
  readonly traceparent: string;
}

export interface Span {
  readonly traceId: string;
  readonly context: TraceContext;
  set(attributes: Attributes): void;
  event(name: string, attributes?: Attributes): void;
  /** Marks the span as failed; `code` becomes error.type. */
  fail(code: string, message?: string): void;
  /** The whole trace is exported, in every process, whatever the sampler said. May be called at any time before the end. */
  keep(reason: KeepReason): void;
  end(): void;
}

/** Why a trace is worth keeping. `refused` gives way to the others when there are too many. */
export type KeepReason = 'failed' | 'failed_over' | 'moved' | 'slow' | 'refused';

export interface SpanOptions {
  readonly attributes?: Attributes;
  /** Default: the active span. */
  readonly parent?: TraceContext;
  readonly links?: readonly TraceContext[];
  readonly kind?: 'internal' | 'server' | 'client' | 'producer' | 'consumer';
}

export interface Counter {
  add(value: number, labels?: Readonly<Record<string, string>>): void;
}
export interface Gauge {
  set(value: number, labels?: Readonly<Record<string, string>>): void;
}
export interface Histogram {
  /** In the unit of the metric's name. */
  observe(value: number, labels?: Readonly<Record<string, string>>): void;
}

export interface Logger {
  /** A constant message and fields. Error level means that someone should look. */
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

export interface Telemetry {
  readonly log: Logger;
  /** A span that ends when `run` returns, or when the promise it returned settles; a throw marks it failed. Active within `run`. */
  span<T>(name: string, options: SpanOptions, run: (span: Span) => T): T;
  /** A span that the caller ends. */
  start(name: string, options?: SpanOptions): Span;
  /** Runs with `context` as the active span; with undefined, without one. */
  within<T>(context: TraceContext | undefined, run: () => T): T;
  active(): TraceContext | undefined;

  /** Names come from lib/telemetry/metrics.ts. */
  counter(name: string): Counter;
  gauge(name: string): Gauge;
  histogram(name: string): Histogram;
  /** All of this process's metrics in the Prometheus text format; absent where they are only recorded. */
  metricsText?(): Promise<string>;
}
