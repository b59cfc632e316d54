// The short form of `npm run fuzz`: the same seed each time, a few seconds.
import { expect, test } from 'vitest';
import { entrances } from './entrances/all.ts';
import { fuzz } from './fuzz.ts';
import { findingLines } from './report.ts';

test.each(entrances.map((entrance) => [entrance.name, entrance] as const))(
  '%s: whatever comes in, nothing breaks',
  { timeout: 120_000 },
  async (_name, entrance) => {
    const { reports, findings } = await fuzz([entrance], { seed: 1, inputs: entrance.shortInputs });
    expect(findings.all, findingLines(findings.all)).toEqual([]);
    expect(reports[0]!.inputs).toBe(entrance.shortInputs);
    expect(reports[0]!.outcomes.size, 'ways in which inputs were answered').toBeGreaterThan(1);
  },
);
