// One line of the table: what is done to a fleet, and what must be seen.
import { expect, it } from 'vitest';
import { form } from './form.ts';
import type { ProbeFleet } from './probe-fleet.ts';
import { report } from './report.ts';

/** A time that is printed, and judged where this machine is measured and not merely used. */
export interface Timing {
  readonly what: string;
  /** The median of several rounds. */
  readonly ms: number;
  readonly limitMs: number;
}

export interface Finding {
  /** What was seen, in one line, with its numbers. */
  readonly says: string;
  readonly timings: readonly Timing[];
}

export interface Probe {
  /** Names its line in others.ts too. */
  readonly name: string;
  readonly mustHold: string;
  /** Throws what is not as it must be. */
  run(fleet: ProbeFleet): Promise<Finding>;
}

const limitMs = 240_000;

export function tryProbes(probes: readonly Probe[], fleet: () => ProbeFleet): void {
  for (const probe of probes) it(`${probe.name}: ${probe.mustHold}`, () => tryProbe(probe, fleet()), limitMs);
}

async function tryProbe({ name, mustHold, run }: Probe, fleet: ProbeFleet): Promise<void> {
  let finding: Finding | undefined;
  try {
    await fleet.whole();
    finding = await run(fleet);
    if (form.judgesTimes) for (const { what, ms, limitMs: limit } of finding.timings) expect(ms, what).toBeLessThan(limit);
    report({ name, mustHold, held: true, says: finding.says });
  } catch (thrown) {
    report({ name, mustHold, held: false, says: finding?.says ?? String(thrown).split('\n')[0]! });
    throw thrown;
  }
}
