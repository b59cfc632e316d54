// Telemetry of a real process: OpenTelemetry spans (all kept in a ring; exported, where an exporter is chosen, if sampled or
// worth keeping), Prometheus metrics, logs.
import * as api from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, type ReadableSpan, type SpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import type { Clock } from '../ports/clock.ts';
import type { Span, SpanOptions, Telemetry, TraceContext } from '../ports/telemetry.ts';
import { createExporter, type ExporterName } from './exporters.ts';
import { createKeptTraces, type KeptTraces } from './kept-traces.ts';
import { createLogger, type LogLevel } from './logger.ts';
import { asSampled, isSampled, OtelSpan, spanKinds, toHrTime, toSpanContext, toSpanRecord, toTraceContext } from './otel-span.ts';
import { createMetrics, type Metrics } from './prometheus.ts';
import { runInSpan } from './run-in-span.ts';
import { createSampler, type SamplerName } from './sampler.ts';
import { createSpanRing, type SpanSource } from './span-ring.ts';

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
  installGlobals();
  const now = () => toHrTime(clock.now());
  const metrics = options.metrics ?? createMetrics();
  metrics.gauge('target_info').set(1, { service_name: `switchyard-${service}`, service_instance_id: id, service_version: version });
  const log = createLogger({
    service,
    id,
    pid,
    level: options.logLevel ?? 'info',
    format: options.logFormat ?? 'json',
    active: activeContext,
    ...(options.writeLog ? { write: options.writeLog } : {}),
  });
  const stopping = new AbortController();
  const ring = createSpanRing<ReadableSpan>((span) => toSpanRecord(span, service, id));
  let kept: KeptTraces | undefined;
  const provider = options.tracingOff ? undefined : createProvider();
  const tracer = provider?.getTracer('switchyard', version) ?? api.trace.getTracer('switchyard');

  function createProvider(): TracerProvider {
    const exporterName = options.exporter ?? 'none';
    let exportSpan: ((span: ReadableSpan) => void) | undefined;
    const keepInRing: SpanProcessor = {
      onStart() {},
      onEnd(span) {
        const { traceId } = span.spanContext();
        const requestId = span.attributes['switchyard.request.id'];
        const keepNow = !isSampled(span) && kept?.has(traceId) === true;
        ring.add(span, traceId, typeof requestId === 'string' ? requestId : undefined, keepNow || isSampled(span));
        if (keepNow) exportSpan?.(span);
      },
      forceFlush: async () => {},
      shutdown: async () => {},
    };
    const processors = [keepInRing];
    if (exporterName !== 'none') {
      const exporter = createExporter(exporterName, {
        clock,
        log,
        dropped: metrics.counter('switchyard_spans_dropped_total'),
        stopping: stopping.signal,
      });
      // A full queue (a slow backend under load) drops new spans; serving goes on.
      const batches = new BatchSpanProcessor({ exporter, maxQueueSize: 8192, scheduledDelayMillis: 1000, exportTimeoutMillis: 30_000 });
      processors.push(batches);
      exportSpan = (span) => batches.onEnd(asSampled(span));
      kept = createKeptTraces({ clock, take: ring.take, send: exportSpan, counter: metrics.counter('switchyard_traces_kept_total') });
    }
    return new TracerProvider({
      // OTEL_RESOURCE_ATTRIBUTES first: what a process is called is not up to its environment.
      resource: detectResources({ detectors: [envDetector] }).merge(
        resourceFromAttributes({
          'service.name': `switchyard-${service}`,
          'service.instance.id': id,
          'service.version': version,
          'process.pid': pid,
        }),
      ),
      sampler: createSampler(options.sampler ?? 'parentbased_traceidratio', options.sampleRatio ?? 1),
      spanProcessors: processors,
    });
  }

  function start(name: string, spanOptions: SpanOptions = {}): OtelSpan {
    const parent = spanOptions.parent === undefined ? api.context.active() : contextOf(spanOptions.parent);
    const inner = tracer.startSpan(
      name,
      {
        startTime: now(),
        kind: spanKinds[spanOptions.kind ?? 'internal'],
        links: (spanOptions.links ?? []).flatMap((link) => {
          const context = toSpanContext(link);
          return context ? [{ context }] : [];
        }),
      },
      parent,
    );
    const span = new OtelSpan(inner, now, kept?.keep);
    if (spanOptions.attributes) span.set(spanOptions.attributes);
    return span;
  }

  const within = <R>(span: Span, body: () => R): R => api.context.with(api.trace.setSpan(api.context.active(), (span as OtelSpan).inner), body);

  return {
    log,
    ring,
    kept,
    start,
    span: (name, spanOptions, run) => runInSpan(start(name, spanOptions), within, run),
    within: (context, run) => api.context.with(contextOf(context), run),
    active: activeContext,
    counter: metrics.counter,
    gauge: metrics.gauge,
    histogram: metrics.histogram,
    metricsText: metrics.text,
    async shutdown() {
      stopping.abort();
      kept?.flush();
      await provider?.shutdown().catch((thrown: unknown) => log.warn('spans were not sent at the end', { error: thrown }));
    },
  };
}

function activeContext(): TraceContext | undefined {
  const span = api.trace.getActiveSpan();
  return span ? toTraceContext(span.spanContext()) : undefined;
}

function contextOf(context: TraceContext | undefined): api.Context {
  const parent = toSpanContext(context);
  return parent ? api.trace.setSpanContext(api.ROOT_CONTEXT, parent) : api.ROOT_CONTEXT;
}

let installed = false;

/** The SDK sets neither the context manager nor the propagator. Once per process; each service has its own provider. */
function installGlobals(): void {
  if (installed) return;
  installed = true;
  api.context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  api.propagation.setGlobalPropagator(new W3CTraceContextPropagator());
}
