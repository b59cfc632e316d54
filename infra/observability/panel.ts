// What a dashboard is made of, and how its queries are written. `$pool` is the pool that the viewer has picked, all of them
// by default.

export type Unit = 'short' | 's' | 'percentunit' | 'reqps' | 'ops' | 'Bps' | 'bytes' | 'none';

export interface Query {
  readonly expr: string;
  /** `{{label}}` stands for the label's value. */
  readonly legend: string;
}

export interface Panel {
  readonly title: string;
  /** For the panel's tooltip: what to read from it. */
  readonly about: string;
  readonly kind: 'graph' | 'number';
  readonly unit: Unit;
  readonly queries: readonly Query[];
  /** Values from which a number is shown in yellow and in red. */
  readonly thresholds?: readonly [number, number];
  /** Nothing is shown while nothing of the kind has happened. */
  readonly mayBeEmpty?: boolean;
}

export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

export interface Dashboard {
  readonly id: string;
  readonly title: string;
  readonly about: string;
  readonly rows: readonly Row[];
}

type Extra = Partial<Pick<Panel, 'mayBeEmpty' | 'thresholds'>>;

export const q = (legend: string, expr: string): Query => ({ legend, expr });
export const graph = (title: string, unit: Unit, about: string, queries: readonly Query[], extra: Extra = {}): Panel => ({
  title,
  unit,
  about,
  queries,
  kind: 'graph',
  ...extra,
});
export const number = (title: string, unit: Unit, about: string, expr: string, extra: Extra = {}): Panel => ({
  title,
  unit,
  about,
  queries: [q('', expr)],
  kind: 'number',
  ...extra,
});

export const pool = 'pool=~"$pool"';
export const rate = (metric: string, matchers = pool) => `rate(${metric}{${matchers}}[$__rate_interval])`;

/** Quantiles of a histogram, one query each. */
export function quantiles(
  metric: string,
  by: readonly string[],
  legend: string,
  matchers = pool,
  wanted: readonly number[] = [0.5, 0.95, 0.99],
): Query[] {
  return wanted.map((quantile) =>
    q(
      `p${quantile * 100}${legend === '' ? '' : ` ${legend}`}`,
      `histogram_quantile(${quantile}, sum by (${['le', ...by].join(', ')}) (${rate(`${metric}_bucket`, matchers)}))`,
    ),
  );
}

export const mayBeEmpty = true;

/** With the name of the process in place of the scraped address. */
export function named(expr: string): string {
  return `${expr} * on (job, instance) group_left (service_instance_id) target_info`;
}
