import { describe, expect, test } from 'vitest';
import { type MetricEntry, maxLabelValues } from './metrics.ts';
import { type Bucketed, bucketSamples, createSeries, observe } from './series.ts';

const entry: MetricEntry = { type: 'counter', help: 'For this test.', labels: ['pool', 'reason'] };
const counter = (declared = entry) => createSeries('test_total', declared, () => ({ total: 0 }));

describe('the values of a metric', () => {
  test('are found by their labels, whatever the order and whichever are missing', () => {
    const series = counter();
    series.of({ pool: 'a', reason: 'x' }).total += 1;
    series.of({ reason: 'x', pool: 'a' }).total += 2;
    series.of({ pool: 'a' }).total += 4;
    series.of(undefined).total += 8;
    expect(series.all()).toEqual([
      { labels: { pool: 'a', reason: 'x' }, value: { total: 3 } },
      { labels: { pool: 'a' }, value: { total: 4 } },
      { labels: {}, value: { total: 8 } },
    ]);
  });

  test('are not found by a label that is not declared, however well the others are known', () => {
    const series = counter();
    series.of({ pool: 'a', reason: 'x' });
    expect(() => series.of({ pool: 'a', reason: 'x', user: 'me' })).toThrow('has no label user');
    expect(() => counter({ ...entry, labels: [] }).of({ user: 'me' })).toThrow('has no label user');
  });

  test('are there from the start without labels, and only when first used with some', () => {
    expect(counter({ ...entry, labels: [] }).all()).toEqual([{ labels: {}, value: { total: 0 } }]);
    expect(counter().all()).toEqual([]);
  });

  test('beyond the limit of a label are one', () => {
    const series = counter();
    for (let index = 0; index < maxLabelValues + 3; index++) series.of({ pool: `p${index}`, reason: 'x' }).total += 1;
    series.of({ pool: 'p1', reason: 'x' }).total += 1;
    expect(series.all()).toHaveLength(maxLabelValues + 1);
    expect(series.of({ pool: 'other', reason: 'x' }).total).toBe(3);
    expect(series.of({ pool: 'p1', reason: 'x' }).total).toBe(2);
  });
});

test('a histogram counts what is at most each bound, and all', () => {
  const value: Bucketed = { counts: [0, 0], sum: 0, count: 0 };
  for (const seen of [0.25, 0.5, 0.75, 9]) observe(value, [0.5, 1], seen);
  expect(bucketSamples('t', [0.5, 1], { pool: 'a' }, value).map(({ metricName, labels, value }) => [metricName, labels.le, value])).toEqual([
    ['t_bucket', 0.5, 2],
    ['t_bucket', 1, 3],
    ['t_bucket', '+Inf', 4],
    ['t_sum', undefined, 10.5],
    ['t_count', undefined, 4],
  ]);
});
