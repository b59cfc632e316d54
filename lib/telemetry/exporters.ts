// Where spans go: OTLP, Zipkin or nowhere, chosen by the standard OTEL_TRACES_EXPORTER. The exporters read their own
// standard variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_ZIPKIN_ENDPOINT and so on).
import { type ExportResult, ExportResultCode } from '@opentelemetry/core';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';
import { type Clock, sleep } from '../ports/clock.ts';
import type { Counter, Logger } from '../ports/telemetry.ts';

export const exporterNames = ['otlp', 'zipkin', 'none'] as const;
export type ExporterName = (typeof exporterNames)[number];

/** Loaded with the first spans: a process that exports nothing starts an eighth of a second sooner. */
async function load(name: Exclude<ExporterName, 'none'>): Promise<SpanExporter> {
  if (name === 'otlp') return new (await import('@opentelemetry/exporter-trace-otlp-proto')).OTLPTraceExporter();
  return new (await import('@opentelemetry/exporter-zipkin')).ZipkinExporter() as unknown as SpanExporter;
}

/** How long a batch is kept for a backend that takes no connection (it may be starting), and the pause between tries. */
const keepTryingMs = 20_000;
const pauseMs = 1000;

const noConnection = new Set(['ECONNREFUSED', 'ECONNRESET', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT']);

interface ExporterPorts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly dropped: Counter;
  /** Aborted when the process ends: what is left is tried once. */
  readonly stopping: AbortSignal;
}

/** Counts spans that could not be sent, and says once that the backend is away and once that it is back. */
export function createExporter(name: Exclude<ExporterName, 'none'>, { clock, log, dropped, stopping }: ExporterPorts): SpanExporter {
  let loading: Promise<SpanExporter> | undefined;
  let failing = false;

  /** Waits only where nobody took the connection: a backend that answered has said what it thinks. */
  async function send(spans: ReadableSpan[]): Promise<ExportResult> {
    loading ??= load(name);
    const exporter = await loading;
    const until = clock.now() + keepTryingMs;
    for (;;) {
      const result = await new Promise<ExportResult>((resolve) => exporter.export(spans, resolve));
      const code = (result.error as NodeJS.ErrnoException | undefined)?.code ?? '';
      if (!noConnection.has(code) || stopping.aborted || clock.now() + pauseMs > until) return result;
      await sleep(clock, pauseMs, stopping);
    }
  }

  function finished(result: ExportResult, spans: number): void {
    const failed = result.code !== ExportResultCode.SUCCESS;
    if (failed) dropped.add(spans);
    if (failed && !failing) log.warn('spans cannot be exported, they are dropped', { exporter: name, error: result.error?.message ?? 'unknown' });
    if (!failed && failing) log.info('spans are exported again', { exporter: name });
    failing = failed;
  }

  return {
    export(spans: ReadableSpan[], done: (result: ExportResult) => void) {
      void send(spans)
        .catch((error: Error): ExportResult => ({ code: ExportResultCode.FAILED, error }))
        .then((result) => {
          finished(result, spans.length);
          // A failure is told here; the SDK would report it a second time.
          done({ code: ExportResultCode.SUCCESS });
        });
    },
    async shutdown() {
      await (await loading)?.shutdown();
    },
    async forceFlush() {
      await (await loading)?.forceFlush?.();
    },
  };
}
