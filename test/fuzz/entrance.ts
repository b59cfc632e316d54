// One way into Switchyard, as the fuzzer sees it.
import type { Chooser } from './chooser.ts';
import type { Findings } from './findings.ts';

export interface Entrance {
  readonly name: string;
  /** Share of all inputs. */
  readonly weight: number;
  /** Inputs of the short form, in `npm test`. */
  readonly shortInputs: number;
  /** Inputs fed between two looks at how the receivers are. */
  readonly batch: number;
  open(seed: number, findings: Findings): Promise<Target>;
}

export interface Target {
  /** Feeds one input. May return before it was handled. */
  feed(chooser: Chooser): void | Promise<void>;
  /** Lets everything fed be handled, then checks that the receivers are well. Called after each batch. */
  settle(): Promise<void>;
  close(): Promise<void>;
  /** How many inputs were answered how, for the table. */
  readonly outcomes: Map<string, number>;
}

export function count(outcomes: Map<string, number>, what: string): void {
  outcomes.set(what, (outcomes.get(what) ?? 0) + 1);
}
