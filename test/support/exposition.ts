// What processes expose under /metrics, read from the Prometheus text format: names, types, and the labels of the samples.

export interface Exposed {
  /** By the name of the metric as it is declared. */
  readonly types: Map<string, string>;
  /** By the name of the sample (a histogram has `_bucket`, `_sum` and `_count`): its labels. No entry: no sample. */
  readonly labels: Map<string, Set<string>>;
}

export function nothingExposed(): Exposed {
  return { types: new Map(), labels: new Map() };
}

/** Adds what one process exposes. */
export function readExposition(text: string, into: Exposed): void {
  for (const line of text.split('\n')) {
    const [hash, word, name, type] = line.split(' ');
    if (hash === '#' && word === 'TYPE') into.types.set(name!, type!);
    const sample = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? /.exec(line);
    if (!sample) continue;
    const labels = into.labels.get(sample[1]!) ?? new Set();
    for (const [, label] of (sample[2] ?? '').matchAll(/([a-zA-Z_]\w*)="(?:[^"\\]|\\.)*"/g)) labels.add(label!);
    into.labels.set(sample[1]!, labels);
  }
}

/** The declared metric that a sample belongs to. */
export function metricOf(sample: string, { types }: Exposed): string | undefined {
  if (types.has(sample)) return sample;
  const histogram = sample.replace(/_(bucket|sum|count)$/, '');
  return types.get(histogram) === 'histogram' || types.get(histogram) === 'summary' ? histogram : undefined;
}
