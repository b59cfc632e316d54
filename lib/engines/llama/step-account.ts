// What the steps of an engine have come to: totals, times, and what a step costs.
import type { EngineStatus } from '../../ports/engines.ts';
import type { EngineFacts, StepReport } from './child/messages.ts';
import { StepFit } from './step-fit.ts';

/** How much of the average the newest step makes. */
const newestShare = 0.2;

export class StepAccount {
  readonly #fit = new StepFit();
  #stepMs = 0;
  #steps = 0;
  #tokensIn = 0;
  tokensOut = 0;

  get status(): Pick<EngineStatus, 'stepMs' | 'stepModel' | 'steps' | 'tokensIn' | 'tokensOut'> {
    return { stepMs: this.#stepMs, stepModel: this.#fit.model, steps: this.#steps, tokensIn: this.#tokensIn, tokensOut: this.tokensOut };
  }

  /** A process that has just begun is known by its first steps, which are nobody's. */
  begin({ prefillTokens, prefillMs, decodeMs }: EngineFacts['warmUp']): void {
    this.#fit.add(0, prefillTokens, prefillMs);
    this.#fit.add(1, 0, decodeMs);
  }

  add({ decoded, prefilled, ms }: StepReport): void {
    // A report may tell only what failed.
    if (decoded + prefilled === 0) return;
    this.#steps++;
    this.#tokensIn += prefilled;
    this.#fit.add(decoded, prefilled, ms);
    this.#stepMs = this.#stepMs === 0 ? ms : this.#stepMs * (1 - newestShare) + ms * newestShare;
  }
}
