// What a step costs on this machine, learned from the steps it takes: ms = base + a for each sequence that decodes + b for
// each prompt token. Least squares over the last steps, older ones count less, with no coefficient below 0.
import type { StepModel } from '../../../proto/gen/messages.ts';

/** What remains of a step's weight after each further one: the last few hundred count. */
const keptWeight = 0.995;
/** Against dividing by 0 where steps say nothing about a coefficient. */
const ridge = 1e-6;
/** Which coefficients may be other than 0. */
const subsets = [[0, 1, 2], [0, 1], [0, 2], [1, 2], [0], [1], [2]];

export class StepFit {
  /** Sums of products of (1, decoded, prefilled) by each other, and by ms. */
  readonly #products = [
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
  ];
  readonly #targets = [0, 0, 0];

  add(decoded: number, prefilled: number, ms: number): void {
    const x = [1, decoded, prefilled];
    for (const [row, value] of x.entries()) {
      for (const [column, other] of x.entries()) this.#products[row]![column] = this.#products[row]![column]! * keptWeight + value * other;
      this.#targets[row] = this.#targets[row]! * keptWeight + value * ms;
    }
  }

  /** All 0 before the first step. */
  get model(): StepModel {
    let best = [0, 0, 0];
    let least = 0;
    for (const subset of subsets) {
      const found = this.#solve(subset);
      const error = this.#error(found);
      if (found.every((value) => value >= 0) && error < least) [best, least] = [found, error];
    }
    const [base, perSequence, perToken] = best as [number, number, number];
    return { prefillBaseMs: base, prefillPerTokenMs: perToken, decodeBaseMs: base, decodePerSequenceMs: perSequence };
  }

  /** The normal equations of some of the coefficients, by Gauss's elimination. */
  #solve(subset: readonly number[]): number[] {
    const rows = subset.map((row) => [
      ...subset.map((column) => this.#products[row]![column]! + (row === column ? ridge * (1 + this.#products[row]![row]!) : 0)),
      this.#targets[row]!,
    ]);
    for (const pivot of subset.keys()) {
      for (const row of subset.keys()) {
        if (row === pivot) continue;
        const factor = rows[row]![pivot]! / rows[pivot]![pivot]!;
        for (let column = pivot; column <= subset.length; column++) rows[row]![column] = rows[row]![column]! - factor * rows[pivot]![column]!;
      }
    }
    const found = [0, 0, 0];
    for (const [index, coefficient] of subset.entries()) found[coefficient] = rows[index]![subset.length]! / rows[index]![index]!;
    return found;
  }

  /** Sum of squares, without the part that is the same for all coefficients. */
  #error(found: readonly number[]): number {
    let error = 0;
    for (let row = 0; row < 3; row++) {
      error -= 2 * found[row]! * this.#targets[row]!;
      for (let column = 0; column < 3; column++) error += found[row]! * found[column]! * this.#products[row]![column]!;
    }
    return error;
  }
}
