// Where spans go: OTLP, Zipkin or nowhere, chosen by the standard OTEL_TRACES_EXPORTER. The exporters read their own
// standard variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_ZIPKIN_ENDPOINT and so on).
import { type ExportResult, ExportResultCode } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { ZipkinExporter } from '@opentelemetry/exporter-zipkin';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';
import type { Counter, Logger } from '../ports/telemetry.ts';

export const exporterNames = ['otlp', 'zipkin', 'none'] as const;
export type ExporterName = (typeof exporterNames)[number];

export function createExporter(name: ExporterName): SpanExporter | undefined {
  if (name === 'otlp') return new OTLPTraceExporter();
  if (name === 'zipkin') return new ZipkinExporter() as unknown as SpanExporter;
  return undefined;
}

/** Counts spans that could not be sent, and says once that the backend is away and once that it is back. */
export function watchedExporter(exporter: SpanExporter, log: Logger, dropped: Counter): SpanExporter {
  let failing = false;
  return {
    export(spans: ReadableSpan[], done: (result: ExportResult) => void) {
      exporter.export(spans, (result) => {
        const failed = result.code !== ExportResultCode.SUCCESS;
        if (failed) dropped.add(spans.length);
        if (failed && !failing) log.warn('spans cannot be exported, they are dropped', { error: result.error?.message ?? 'unknown' });
        if (!failed && failing) log.info('spans are exported again');
        failing = failed;
        // A failure is told here; the SDK would report it a second time.
        done({ code: ExportResultCode.SUCCESS });
      });
    },
    shutdown: () => exporter.shutdown(),
    forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve(),
  };
}
