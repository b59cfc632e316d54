// A target's part while its source still speaks: it computes the tokens that the source says, and is handed over to when it is
// close. It knows the token after them too: the source's to say, unless this engine takes over there.
import { refusal } from '../../../core/errors/switchyard-error.ts';
import { sleep } from '../../ports/clock.ts';
import type { LlamaEngine } from './llama-engine.ts';
import type { LlamaRequest } from './request.ts';
import type { Reservation, Reservations } from './reservations.ts';

/** Tokens left to compute at which it is close. */
const closeTokens = 2;
/** One that does not come so close has the rest to compute at the last stage, ms. */
const closeWithinMs = 2_000;

export class Following {
  readonly #engine: LlamaEngine;
  readonly #reservations: Reservations;

  constructor(engine: LlamaEngine, reservations: Reservations) {
    this.#engine = engine;
    this.#reservations = reservations;
  }

  /** A state has been loaded: what the history has beyond it is computed. */
  begin(reservation: Reservation, { sampling }: LlamaRequest): void {
    const { history, promptTokens, slot } = reservation;
    reservation.fed = this.#computable(history);
    reservation.following = this.#engine.newId();
    this.#engine.running?.child.tell({
      ...{ type: 'follow', id: reservation.following, slot, tokens: history.slice(0, reservation.fed), promptTokens },
      // A grammar's state takes in what is chosen, and what the source chooses may be something else.
      sampling: sampling.grammar === undefined ? sampling : undefined,
    });
  }

  /** Computes what is new of the source's tokens. */
  feed(reservation: Reservation, firstIndex: number, tokenIds: readonly number[]): void {
    const { history, promptTokens, following } = reservation;
    if (following === undefined) return;
    const known = history.length - promptTokens;
    if (firstIndex > known) return;
    const room = this.#engine.options.config.contextTokens - history.length;
    history.push(...tokenIds.slice(known - firstIndex, known - firstIndex + room));
    const computable = this.#computable(history);
    if (computable <= reservation.fed) return;
    this.#engine.running?.child.tell({ type: 'feed', id: following, tokens: history.slice(reservation.fed, computable) });
    reservation.fed = computable;
  }

  /** Resolves when it is close, is no more, or takes too long. */
  async caughtUp({ following }: Reservation): Promise<void> {
    const { running, options } = this.#engine;
    if (!running || following === undefined) return;
    const over = new AbortController();
    const close = running.child.ask({ type: 'caught_up', id: following, within: closeTokens }).catch(() => {});
    await Promise.race([close, sleep(options.clock, closeWithinMs, over.signal)]);
    over.abort();
  }

  end(reservation: Reservation): void {
    if (reservation.following !== undefined) this.#engine.running?.child.tell({ type: 'stop', id: reservation.following });
    reservation.following = undefined;
    reservation.foreseen = undefined;
  }

  /** The engine has chosen the token after so many. */
  foresaw(id: number, after: number, token: number): void {
    const reservation = this.#of(id);
    if (reservation) reservation.foreseen = { after, token };
  }

  /** The engine could not compute it: nothing of what was loaded is worth anything. */
  failed(id: number, message: string): void {
    const reservation = this.#of(id);
    if (!reservation) return;
    reservation.following = undefined;
    reservation.foreseen = undefined;
    reservation.loadedTokens = 0;
    reservation.state = undefined;
    reservation.failure = refusal('transfer_failed', `the engine could not compute what it follows: ${message}`);
  }

  /** A context that is full has no room for a step. */
  #computable(history: readonly number[]): number {
    return Math.min(history.length, this.#engine.options.config.contextTokens - 1);
  }

  #of(id: number): Reservation | undefined {
    for (const reservation of this.#reservations.all()) if (reservation.following === id) return reservation;
    return undefined;
  }
}
