// One row of the table of faults: what is done to a fleet, and what must hold.
import { it } from 'vitest';
import { endLoads } from './load.ts';
import { type Counts, report } from './report.ts';
import type { World } from './world.ts';

export interface Row {
  readonly fault: string;
  readonly mustHold: string;
  /** Throws what did not hold. */
  run(world: World): Promise<Counts>;
  readonly limitMs: number;
}

export function proveRows(rows: readonly Row[], world: () => World): void {
  for (const row of rows)
    it(
      `${row.fault}: ${row.mustHold}`,
      async () => {
        // A row begins with a fleet that is whole, and what the one before has left is not its own.
        await world().fleet.whole();
        await world().begin();
        await prove(row, () => row.run(world()));
      },
      row.limitMs,
    );
}

/** Reports what the fault has shown, whether it held or not. */
export async function prove({ fault }: { readonly fault: string }, run: () => Promise<Counts>): Promise<void> {
  const startMs = performance.now();
  const seconds = () => Math.round((performance.now() - startMs) / 1000);
  try {
    const counts = await run();
    report({ fault, held: true, seconds: seconds(), ...counts });
  } catch (thrown) {
    report({ fault, held: false, seconds: seconds(), note: String(thrown).split('\n')[0] });
    throw thrown;
  } finally {
    await endLoads();
  }
}
