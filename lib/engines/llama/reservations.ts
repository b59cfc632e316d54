// Slots held for sequences that are on their way to a llama engine. A reservation expires by itself unless stages keep
// arriving.
import { refusal } from '../../../core/errors/switchyard-error.ts';
import type { Refusal, SequenceState } from '../../../proto/gen/messages.ts';
import type { Clock } from '../../ports/clock.ts';
import type { ReservationRequest } from '../../ports/engines.ts';
import type { Foreseen } from './foreseen.ts';
import type { IncomingState } from './incoming-state.ts';
import type { LlamaRequest } from './request.ts';

export interface Reservation {
  readonly id: string;
  readonly requestId: string;
  /** The epoch that the sequence will have here. */
  readonly epoch: number;
  readonly transferToken: string;
  readonly blocks: number;
  readonly ttlMs: number;
  readonly slot: number;
  readonly pieces: IncomingState;
  expiresAtMs: number;
  /** The end of the last commit. */
  turn: Promise<void>;
  /** Tokens in the state that was loaded; 0: none is. */
  loadedTokens: number;
  /** Prompt and output, as far as they are known here. */
  history: number[];
  promptTokens: number;
  /** Of the sequence, once a state of it has been loaded. */
  request: LlamaRequest | undefined;
  /** Tokens of the history that the engine was told. */
  fed: number;
  /** The engine's name for what computes them. */
  following: number | undefined;
  foreseen: Foreseen | undefined;
  /** Once the last stage is complete. */
  state: SequenceState | undefined;
  failure: Refusal | undefined;
}

/** Ids of expired reservations remembered, to name the reason to whoever comes late. */
const maxExpired = 256;

export class Reservations {
  readonly #byId = new Map<string, Reservation>();
  readonly #expired = new Set<string>();
  readonly #clock: Clock;
  readonly #onExpired: (reservation: Reservation) => void;
  #cancel = () => {};

  /** There are no more of them than slots. */
  constructor(clock: Clock, onExpired: (reservation: Reservation) => void) {
    this.#clock = clock;
    this.#onExpired = onExpired;
  }

  get blocks(): number {
    let sum = 0;
    for (const { blocks } of this.#byId.values()) sum += blocks;
    return sum;
  }

  all(): Iterable<Reservation> {
    return this.#byId.values();
  }

  get(id: string): Reservation | undefined {
    return this.#byId.get(id);
  }

  /** Refused: `reservation_expired`, `unknown_reservation`. */
  find(id: string): Reservation | Refusal {
    const found = this.#byId.get(id);
    if (found) return found;
    if (this.#expired.has(id)) return refusal('reservation_expired', `reservation ${id} has expired`);
    return refusal('unknown_reservation', `no reservation ${id} here`);
  }

  add({ reservationId: id, requestId, epoch, transferToken, blocks, ttlMs }: ReservationRequest, slot: number, pieces: IncomingState): Reservation {
    const reservation: Reservation = {
      ...{ id, requestId, epoch, transferToken, blocks, ttlMs, slot, pieces, expiresAtMs: this.#clock.now() + ttlMs },
      ...{
        turn: Promise.resolve(),
        loadedTokens: 0,
        history: [],
        promptTokens: 0,
        request: undefined,
        fed: 0,
        following: undefined,
        foreseen: undefined,
        state: undefined,
        failure: undefined,
      },
    };
    this.#byId.set(id, reservation);
    this.#expired.delete(id);
    this.#watch();
    return reservation;
  }

  renew(reservation: Reservation, ttlMs: number): void {
    reservation.expiresAtMs = Math.max(reservation.expiresAtMs, this.#clock.now() + ttlMs);
    this.#watch();
  }

  /** Something has arrived for it. Cheap: the timer is set anew when it fires too early. */
  touch(reservation: Reservation): void {
    reservation.expiresAtMs = Math.max(reservation.expiresAtMs, this.#clock.now() + reservation.ttlMs);
  }

  remove(id: string): Reservation | undefined {
    const reservation = this.#byId.get(id);
    this.#byId.delete(id);
    return reservation;
  }

  stop(): void {
    this.#cancel();
  }

  #watch(): void {
    this.#cancel();
    const nowMs = this.#clock.now();
    let nextAtMs = Number.POSITIVE_INFINITY;
    const expired: Reservation[] = [];
    for (const reservation of this.#byId.values()) {
      if (reservation.expiresAtMs <= nowMs) expired.push(reservation);
      else nextAtMs = Math.min(nextAtMs, reservation.expiresAtMs);
    }
    for (const reservation of expired) {
      this.#byId.delete(reservation.id);
      this.#expired.add(reservation.id);
      if (this.#expired.size > maxExpired) this.#expired.delete(this.#expired.values().next().value!);
      this.#onExpired(reservation);
    }
    if (nextAtMs < Number.POSITIVE_INFINITY) this.#cancel = this.#clock.after(Math.max(1, nextAtMs - nowMs), () => this.#watch());
  }
}
