// The declared metrics in a Prometheus registry. A metric is registered when it is first asked for.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Counter as CounterPort, Gauge as GaugePort, Histogram as HistogramPort } from '../ports/telemetry.ts';
import { checkLabels, type MetricEntry, maxLabelValues, metricEntry } from './metrics.ts';

export interface Metrics {
  counter(name: string): CounterPort;
  gauge(name: string): GaugePort;
  histogram(name: string): HistogramPort;
  /** The Prometheus text format. */
  text(): Promise<string>;
}

type Labels = Readonly<Record<string, string>>;

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
  const config = (name: string, entry: MetricEntry) => ({ name, help: entry.help, labelNames: [...entry.labels], registers: [registry] });

  return {
    counter: (name) =>
      once(name, () => {
        const entry = metricEntry(name, 'counter');
        const counter = new Counter(config(name, entry));
        const cap = createLabelCap(name, entry);
        // A counter without labels shows 0 before its first event, as dashboards expect.
        return { add: (value: number, labels?: Labels) => counter.inc(cap(labels), value) };
      }),
    gauge: (name) =>
      once(name, () => {
        const entry = metricEntry(name, 'gauge');
        const gauge = new Gauge(config(name, entry));
        const cap = createLabelCap(name, entry);
        return { set: (value: number, labels?: Labels) => gauge.set(cap(labels), value) };
      }),
    histogram: (name) =>
      once(name, () => {
        const entry = metricEntry(name, 'histogram');
        const histogram = new Histogram({ ...config(name, entry), buckets: [...(entry.buckets ?? [])] });
        const cap = createLabelCap(name, entry);
        return { observe: (value: number, labels?: Labels) => histogram.observe(cap(labels), value) };
      }),
    text: () => registry.metrics(),
  };
}

const none: Labels = {};

/** Replaces a label's value by "other" when it is new and the label has `maxLabelValues` values already. */
function createLabelCap(name: string, entry: MetricEntry): (labels: Labels | undefined) => Labels {
  const seen = new Map(entry.labels.map((label) => [label, new Set<string>()]));
  return (labels) => {
    if (!labels) return none;
    checkLabels(name, entry, labels);
    let capped: Record<string, string> | undefined;
    for (const label in labels) {
      const values = seen.get(label)!;
      const value = labels[label]!;
      if (values.has(value)) continue;
      if (values.size < maxLabelValues) values.add(value);
      else {
        capped ??= { ...labels };
        capped[label] = 'other';
      }
    }
    return capped ?? labels;
  };
}
