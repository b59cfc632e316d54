// Telemetry of a real process: spans (all kept in a ring; exported by OpenTelemetry, where an exporter is chosen, if sampled or
// worth keeping), Prometheus metrics, logs.
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, type ReadableSpan } from '@opentelemetry/sdk-trace';
import type { Clock } from '../ports/clock.ts';
import type { Span, SpanOptions, Telemetry } from '../ports/telemetry.ts';
import { ExportedSpan, type ExportSource } from './exported-span.ts';
import { createExporter, type ExporterName } from './exporters.ts';
import { createKeptTraces, type KeptTraces } from './kept-traces.ts';
import { createLogger, type LogLevel } from './logger.ts';
import { createMetrics, type Metrics } from './prometheus.ts';
import { RecordedSpan, type SpanFacts, type SpanKeeper, toSpanRecord } from './recorded-span.ts';
import { runInSpan } from './run-in-span.ts';
import { createSampler, type SamplerName } from './sampler.ts';
import { createSpanRing, type SpanSource } from './span-ring.ts';
import { activePlace, newSpanId, newTraceId, placeOf, TracePlace } from './trace-place.ts';

export interface OtelTelemetryOptions {
  readonly service: string;
  readonly id: string;
  readonly pid: number;
  readonly version: string;
  readonly clock: Clock;
  readonly logLevel?: LogLevel;
  readonly logFormat?: 'json' | 'pretty';
  readonly writeLog?: (line: string) => void;
  readonly exporter?: ExporterName;
  /** Default parentbased_traceidratio: whoever begins a trace decides for all of it. */
  readonly sampler?: SamplerName;
  /** Share of traces that are exported, 0 to 1, for the samplers that have one. Default 1. */
  readonly sampleRatio?: number;
  /** No spans at all, not even in the ring. */
  readonly tracingOff?: boolean;
  /** Shared by the services of one process. */
  readonly metrics?: Metrics;
}

export interface OtelTelemetry extends Telemetry {
  readonly ring: SpanSource;
  /** Traces that are exported although they were not sampled. Absent where nothing is exported. */
  readonly kept: KeptTraces | undefined;
  /** The Prometheus text format. */
  metricsText(): Promise<string>;
  /** Sends what is waiting, then stops. Never rejects. */
  shutdown(): Promise<void>;
}

export function createOtelTelemetry(options: OtelTelemetryOptions): OtelTelemetry {
  const { service, id, pid, version, clock } = options;
  const metrics = options.metrics ?? createMetrics();
  metrics.gauge('target_info').set(1, { service_name: `switchyard-${service}`, service_instance_id: id, service_version: version });
  const log = createLogger({
    service,
    id,
    pid,
    level: options.logLevel ?? 'info',
    format: options.logFormat ?? 'json',
    active: () => activePlace.getStore(),
    ...(options.writeLog ? { write: options.writeLog } : {}),
  });
  const stopping = new AbortController();
  const ring = createSpanRing<RecordedSpan>((span) => toSpanRecord(span, service, id, clock.now()));
  const exporting = options.tracingOff || (options.exporter ?? 'none') === 'none' ? undefined : startExporting();
  const kept =
    exporting && createKeptTraces({ clock, take: ring.take, send: exporting.send, counter: metrics.counter('switchyard_traces_kept_total') });
  const sample = options.tracingOff ? () => 'off' as const : createSampler(options.sampler ?? 'parentbased_traceidratio', options.sampleRatio ?? 1);

  function startExporting(): { send: (span: SpanFacts) => void; shutdown: () => Promise<void> } {
    const exporter = createExporter(options.exporter as Exclude<ExporterName, 'none'>, {
      clock,
      log,
      dropped: metrics.counter('switchyard_spans_dropped_total'),
      stopping: stopping.signal,
    });
    // A full queue (a slow backend under load) drops new spans; serving goes on.
    const batches = new BatchSpanProcessor({ exporter, maxQueueSize: 8192, scheduledDelayMillis: 1000, exportTimeoutMillis: 30_000 });
    const source: ExportSource = {
      // OTEL_RESOURCE_ATTRIBUTES first: what a process is called is not up to its environment.
      resource: detectResources({ detectors: [envDetector] }).merge(
        resourceFromAttributes({
          'service.name': `switchyard-${service}`,
          'service.instance.id': id,
          'service.version': version,
          'process.pid': pid,
        }),
      ),
      instrumentationScope: { name: 'switchyard', version },
    };
    return { send: (span) => batches.onEnd(new ExportedSpan(span, source) as ReadableSpan), shutdown: () => batches.shutdown() };
  }

  const keeper: SpanKeeper = {
    now: () => clock.now(),
    keep: kept?.keep,
    began: ring.begin,
    ended(span) {
      const sends = exporting !== undefined && (span.context.sampled || kept?.has(span.traceId) === true);
      ring.add(span, sends);
      if (sends) exporting.send(span);
    },
  };

  function start(name: string, spanOptions: SpanOptions = {}): RecordedSpan {
    const parent = spanOptions.parent === undefined ? activePlace.getStore() : placeOf(spanOptions.parent);
    const traceId = parent?.traceId ?? newTraceId();
    const sampling = sample(traceId, parent);
    const recording = sampling !== 'off';
    // What records nothing passes on what it was given.
    const own = !recording && parent ? parent : new TracePlace(traceId, newSpanId(), sampling === 'sampled');
    return new RecordedSpan(name, { own, parent, recording }, spanOptions, keeper);
  }

  const within = <R>(span: Span, body: () => R): R => activePlace.run((span as RecordedSpan).context, body);

  return {
    log,
    ring,
    kept,
    start,
    span: (name, spanOptions, run) => runInSpan(start(name, spanOptions), within, run),
    within: (context, run) => activePlace.run(placeOf(context), run),
    active: () => activePlace.getStore(),
    counter: metrics.counter,
    gauge: metrics.gauge,
    histogram: metrics.histogram,
    metricsText: metrics.text,
    async shutdown() {
      stopping.abort();
      kept?.flush();
      await exporting?.shutdown().catch((thrown: unknown) => log.warn('spans were not sent at the end', { error: thrown }));
    },
  };
}
