// The arithmetic behind the tables, and that docs/prices.md says what the kept results say.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type CpuProfile, selfTimes } from './cpu-profile.ts';
import { filled, tableMarkdown } from './markdown.ts';
import { type Result, readResult, resultsFolder } from './report.ts';
import { mean, median, percentile, ratio, shown, spread } from './statistics.ts';
import { gapsWithin, longestOf } from './token-stream.ts';

describe('percentiles, medians and ratios', () => {
  test('percentiles are values of the sample, by nearest rank', () => {
    const values = [40, 10, 20, 30];
    expect([0, 0.25, 0.5, 0.75, 0.99, 1].map((share) => percentile(values, share))).toEqual([10, 10, 20, 30, 40, 40]);
    expect(percentile([], 0.5)).toBeNaN();
  });

  test('any percentile is in the sample and does not fall with its share', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ noNaN: true }), { minLength: 1 }), fc.double({ min: 0, max: 1, noNaN: true }), (values, share) => {
        expect(values).toContain(percentile(values, share));
        expect(percentile(values, share)).toBeLessThanOrEqual(percentile(values, 1));
      }),
    );
  });

  test('a median of an even count lies in the middle, and one wild round does not move it far', () => {
    expect(median([1, 2, 3, 10])).toBe(2.5);
    expect(median([10, 11, 900])).toBe(11);
    expect(median([])).toBeNaN();
  });

  test('a ratio needs something to be in units of', () => {
    expect(ratio(30, 20)).toBe(1.5);
    expect(ratio(30, 0)).toBeNaN();
    expect(spread([90, 100, 110])).toBeCloseTo(0.2);
    expect(mean([1, 2, 6])).toBe(3);
  });

  test('numbers are shown with three digits, and what was not measured as a dash', () => {
    expect([0, 0.004567, 2.34567, 99.96, 1234.5, Number.NaN, null, 'nginx'].map(shown)).toEqual([
      '0',
      '0.00457',
      '2.35',
      '100',
      '1,235',
      '-',
      '-',
      'nginx',
    ]);
  });
});

test('the longest gap of a stream is found within the window of a move only', () => {
  const cameMs = [0, 100, 120, 140, 200, 220, 400];
  expect(longestOf(gapsWithin(cameMs, 110, 230))).toEqual({ startMs: 140, endMs: 200 });
  expect(gapsWithin(cameMs, 400, 500)).toEqual([]);
  expect(longestOf([])).toBeUndefined();
});

test('self times of a profile add up by name, without idling', () => {
  const frame = (functionName: string, url: string) => ({ functionName, url, lineNumber: 0 });
  const profile: CpuProfile = {
    nodes: [
      { id: 1, callFrame: frame('(idle)', '') },
      { id: 2, callFrame: frame('a', 'x.ts') },
      { id: 3, callFrame: frame('b', 'x.ts') },
    ],
    samples: [1, 2, 3, 2],
    timeDeltas: [1_000, 10, 5, 20],
  };
  expect(selfTimes(profile, ({ functionName }) => functionName)).toEqual([
    ['a', 30],
    ['b', 5],
  ]);
  expect(selfTimes(profile, ({ url }) => url)).toEqual([['x.ts', 35]]);
});

describe('docs/prices.md', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/prices.md'), 'utf8');
  const kept = readdirSync(resultsFolder).filter((name) => name.endsWith('.json'));
  const results: Result[] = kept.map((name) => readResult(join(resultsFolder, name)));

  test('has the kept results as they are', () => {
    const shownOnes = results.filter(({ mode, bench }) => mode === 'full' || !kept.includes(`${bench}.json`));
    expect(shownOnes.length).toBeGreaterThan(0);
    for (const result of shownOnes) expect(filled(page, result), `npm run bench:page has not been run since ${result.command}`).toBe(page);
  });

  test('every kept result names its command, machine and table columns', () => {
    for (const { command, machine, tables } of results) {
      expect(command).toMatch(/^npm run bench:/);
      expect(machine.cores).toBeGreaterThan(0);
      for (const { rows, columns } of tables) for (const row of rows) expect(row).toHaveLength(columns.length);
    }
  });

  test('a bar in a cell does not break a table', () => {
    expect(tableMarkdown({ title: 't', columns: ['a'], rows: [['x|y']], notes: [] })).toContain('| x\\|y |');
  });
});
