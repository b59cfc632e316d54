// How long and how often faults are made. `npm run proof` runs the full form, or a short one; `npm test` the short
// form of the rows that cost little.

export interface Form {
  readonly name: 'full' | 'short';
  /** How long a server stays away. */
  readonly outageMs: number;
  /** How often a row kills, each time whoever is in charge then. */
  readonly rounds: number;
  /** How often a client leaves. */
  readonly leaves: number;
  readonly overloadMs: number;
}

/** Whether `npm run proof` runs this: every row, not only those of `npm test`. */
export const proving = process.env.SWITCHYARD_PROOF !== undefined;

const full = process.env.SWITCHYARD_PROOF === 'full';
const overloadS = Number(process.env.SWITCHYARD_PROOF_OVERLOAD_S ?? 600);
const rounds = Number(process.env.SWITCHYARD_FAULT_ROUNDS ?? (full ? 10 : 1));

export const form: Form = full
  ? { name: 'full', outageMs: 30_000, rounds, leaves: 1_000, overloadMs: overloadS * 1_000 }
  : { name: 'short', outageMs: 5_000, rounds, leaves: 100, overloadMs: 20_000 };
