// The declared metrics in a Prometheus registry. A metric is registered when it is first asked for.
import { collectDefaultMetrics, type Metric, Registry } from 'prom-client';
import type { Counter as CounterPort, Gauge as GaugePort, Histogram as HistogramPort } from '../ports/telemetry.ts';
import { type MetricEntry, metricEntry } from './metrics.ts';
import { type Bucketed, bucketSamples, createSeries, observe, type Sample } from './series.ts';

export interface Metrics {
  counter(name: string): CounterPort;
  gauge(name: string): GaugePort;
  histogram(name: string): HistogramPort;
  /** The Prometheus text format. */
  text(): Promise<string>;
}

/** One per process, shared by the services that run in it. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  // Each look at the event loop wakes an idle process.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 25 });
  const made = new Map<string, unknown>();

  function once<T>(name: string, make: () => T): T {
    let metric = made.get(name) as T | undefined;
    if (!metric) {
      metric = make();
      made.set(name, metric);
    }
    return metric;
  }

  /** The registry asks a metric for nothing but this. */
  function register(name: string, { type, help }: MetricEntry, samples: () => readonly Sample[]): void {
    const metric = { name, help, type, get: async () => ({ name, help, type, values: samples() }) };
    registry.registerMetric(metric as unknown as Metric);
  }

  return {
    counter: (name) =>
      once(name, () => {
        const entry = metricEntry(name, 'counter');
        const series = createSeries(name, entry, () => ({ total: 0 }));
        register(name, entry, () => series.all().map(({ labels, value }) => ({ labels, value: value.total })));
        return {
          add(value, labels) {
            if (!(finite(name, value) >= 0)) throw new Error(`counter ${name} cannot go down`);
            series.of(labels).total += value;
          },
        } satisfies CounterPort;
      }),
    gauge: (name) =>
      once(name, () => {
        const entry = metricEntry(name, 'gauge');
        const series = createSeries(name, entry, () => ({ now: 0 }));
        register(name, entry, () => series.all().map(({ labels, value }) => ({ labels, value: value.now })));
        return {
          set(value, labels) {
            series.of(labels).now = finite(name, value);
          },
        } satisfies GaugePort;
      }),
    histogram: (name) =>
      once(name, () => {
        const entry = metricEntry(name, 'histogram');
        const bounds = entry.buckets ?? [];
        const series = createSeries(name, entry, (): Bucketed => ({ counts: bounds.map(() => 0), sum: 0, count: 0 }));
        register(name, entry, () => series.all().flatMap(({ labels, value }) => bucketSamples(name, bounds, labels, value)));
        return {
          observe(value, labels) {
            observe(series.of(labels), bounds, finite(name, value));
          },
        } satisfies HistogramPort;
      }),
    text: () => registry.metrics(),
  };
}

/** @throws TypeError for what no metric can take in */
function finite(name: string, value: number): number {
  if (!Number.isFinite(value)) throw new TypeError(`metric ${name} was given ${value}`);
  return value;
}
