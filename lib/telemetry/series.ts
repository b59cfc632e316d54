// The values of one metric, by its labels, as prom-client's registry reads them when it is asked for text. Its own counters and
// histograms build, sort and hash a key out of names and values each time they are used; here a value is found by one step in a
// map for each label.
import { checkLabels, type MetricEntry, maxLabelValues } from './metrics.ts';

export type Labels = Readonly<Record<string, string>>;

/** One line of a metric's text. */
export interface Sample {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
  /** Where it is not the metric's own. */
  readonly metricName?: string;
}

type Step<Value> = Map<string | undefined, Step<Value> | Value>;

export interface Series<Value> {
  /** @throws Error when a label is not declared for the metric */
  of(labels: Labels | undefined): Value;
  all(): readonly { readonly labels: Labels; readonly value: Value }[];
}

/** A metric without labels has its value from the start, as dashboards expect. */
export function createSeries<Value extends object>(name: string, entry: MetricEntry, make: () => Value): Series<Value> {
  const names = entry.labels;
  const all: { labels: Labels; value: Value }[] = [];
  const seen = new Map(names.map((label) => [label, new Set<string>()]));
  const first: Step<Value> = new Map();
  const none = names.length === 0 ? add({}) : undefined;

  function add(labels: Labels): Value {
    const value = make();
    all.push({ labels, value });
    return value;
  }

  /** Undefined: not seen before, over the limit, or not a set of labels of this metric. */
  function find(labels: Labels): Value | undefined {
    let left = 0;
    for (const _label in labels) left++;
    let step: Step<Value> = first;
    let found: Step<Value> | Value | undefined;
    for (let index = 0; index < names.length; index++) {
      const value = labels[names[index]!];
      if (value !== undefined) left--;
      found = step.get(value);
      if (found === undefined) return undefined;
      step = found as Step<Value>;
    }
    return left === 0 ? (found as Value) : undefined;
  }

  /** A label's value becomes "other" when it is new and the label has `maxLabelValues` values already. */
  function capped(labels: Labels): Labels {
    const kept: Record<string, string> = {};
    for (const label in labels) {
      const value = labels[label]!;
      const values = seen.get(label)!;
      if (values.size < maxLabelValues) values.add(value);
      kept[label] = values.has(value) ? value : 'other';
    }
    return kept;
  }

  function findOrAdd(labels: Labels): Value {
    checkLabels(name, entry, labels);
    const kept = capped(labels);
    const known = find(kept);
    if (known !== undefined) return known;
    let step = first;
    for (const label of names.slice(0, -1)) {
      const next = (step.get(kept[label]) as Step<Value> | undefined) ?? new Map();
      step.set(kept[label], next);
      step = next;
    }
    const value = add(kept);
    step.set(kept[names.at(-1)!], value);
    return value;
  }

  return {
    of(labels = nothing) {
      if (none !== undefined) checkLabels(name, entry, labels);
      return none ?? find(labels) ?? findOrAdd(labels);
    },
    all: () => all,
  };
}

const nothing: Labels = {};

export interface Bucketed {
  /** How many fell between each bound and the one before. Those above the last are in `count` alone. */
  readonly counts: number[];
  sum: number;
  count: number;
}

export function observe(into: Bucketed, bounds: readonly number[], value: number): void {
  into.sum += value;
  into.count += 1;
  for (let index = 0; index < bounds.length; index++) {
    if (value > bounds[index]!) continue;
    into.counts[index]! += 1;
    return;
  }
}

/** As Prometheus reads a histogram: what is at most each bound, then the sum and the count. */
export function bucketSamples(name: string, bounds: readonly number[], labels: Labels, { counts, sum, count }: Bucketed): Sample[] {
  let below = 0;
  const buckets = bounds.map((bound, index) => {
    below += counts[index]!;
    return { metricName: `${name}_bucket`, labels: { le: bound, ...labels }, value: below };
  });
  return [
    ...buckets,
    { metricName: `${name}_bucket`, labels: { le: '+Inf', ...labels }, value: count },
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}
