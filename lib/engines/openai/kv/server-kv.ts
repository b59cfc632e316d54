// Moving a running request between two servers that hand KV to each other (kv_pull): at the last stage the source drops its stream,
// has its server give the KV away, and sends a note of where it is; the target's server fetches it when the request is taken over.
// Until the hand-over is committed the source can go on by itself, from its token ids.
import { refusal, toRefusal } from '../../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../../proto/gen/messages.ts';
import type { Cancel, Clock } from '../../../ports/clock.ts';
import type { GenerateRequest, KvAdapter, ReservationRequest, StageSource, StageTarget } from '../../../ports/engines.ts';
import type { Fields } from '../client.ts';
import type { HandOverWay } from './hand-over-way.ts';
import { decodeMoved, encodeMoved, type Moved, type Stopped } from './moved-state.ts';

/** The engine, as far as moving concerns it. */
export interface MovingHost {
  readonly clock: Clock;
  /** The name that answers carry. */
  readonly model: string;
  /** Why the request cannot move, or undefined. Refused: `unknown_request`, `stale_epoch`, `sequence_finished`, `not_movable`. */
  whyNot(requestId: string, epoch: number): Refusal | undefined;
  /** Tells what it had still to tell, stops the stream and keeps its place. */
  stop(requestId: string, epoch: number): Stopped;
  /** The token ids of its prompt, where the server has to be asked for them. Refused: `cannot_continue`. */
  promptIds(request: GenerateRequest): Promise<readonly number[] | Refusal>;
  /** A stopped one goes on from its tokens. Unknown ones are fine. */
  goOn(requestId: string, epoch: number): void;
  /** A stopped one is somebody else's now. Unknown ones are fine. */
  end(requestId: string, epoch: number): void;
  /** Other requests that the server computes for us. */
  running(): number;
  maxRunning(): number;
  changed(): void;
}

interface Leaving {
  readonly reservationId: string;
  readonly stage: Promise<StageSource | Refusal>;
  given: Fields | undefined;
  cancelLease: Cancel;
}

interface Reservation extends ReservationRequest {
  moved: Moved | undefined;
  extra: Fields | undefined;
  cancelExpiry: Cancel;
}

export interface TakenOver {
  readonly request: GenerateRequest;
  readonly promptIds: readonly number[];
  readonly extra: Fields;
  readonly told: Moved['told'];
}

/** Reservations held at once; further ones are refused. */
const maxReservations = 32;
/** Ids of expired reservations remembered, to name the reason to whoever comes late. */
const maxExpired = 256;
const noBytes = new Uint8Array(0);

export class ServerKv implements KvAdapter {
  readonly #host: MovingHost;
  readonly #way: HandOverWay;
  readonly #leaving = new Map<string, Leaving>();
  readonly #reservations = new Map<string, Reservation>();
  readonly #expired = new Set<string>();

  constructor(host: MovingHost, way: HandOverWay) {
    this.#host = host;
    this.#way = way;
  }

  get reserved(): number {
    return this.#reservations.size;
  }

  async beginStage(options: Parameters<KvAdapter['beginStage']>[0]): Promise<StageSource | Refusal> {
    const { requestId, epoch, reservationId, last, pauseLeaseMs } = options;
    const key = keyOf(requestId, epoch);
    const leaving = this.#leaving.get(key);
    if (leaving && leaving.reservationId !== reservationId) return refusal('not_movable', `${requestId} is being moved by another reservation`, 500);
    if (leaving) {
      this.#lease(leaving, requestId, epoch, pauseLeaseMs);
      return leaving.stage;
    }
    const why = this.#host.whyNot(requestId, epoch);
    if (why) return why;
    // Nothing goes ahead: the servers move the KV in one piece.
    if (!last) return stageOf(noBytes, 0, 0, () => undefined);
    const stopped = this.#host.stop(requestId, epoch);
    const pausedAtMs = this.#host.clock.now();
    const begun: Leaving = {
      reservationId,
      stage: this.#give(stopped, reservationId, pausedAtMs).then((stage) => {
        // The source goes on without waiting to be told.
        if ('code' in stage && this.#leaving.get(key) === begun) this.release(requestId, epoch, false);
        return stage;
      }),
      given: undefined,
      cancelLease: () => {},
    };
    this.#leaving.set(key, begun);
    this.#lease(begun, requestId, epoch, pauseLeaseMs);
    return begun.stage;
  }

  release(requestId: string, epoch: number, committed: boolean): Refusal | undefined {
    const key = keyOf(requestId, epoch);
    const leaving = this.#leaving.get(key);
    if (!leaving) return undefined;
    this.#leaving.delete(key);
    leaving.cancelLease();
    if (committed) this.#host.end(requestId, epoch);
    else {
      if (leaving.given) this.#way.forget(leaving.given);
      this.#host.goOn(requestId, epoch);
    }
    return undefined;
  }

  reserve(request: ReservationRequest): { transferToken: string } | Refusal {
    if (request.purpose === 'cache') return refusal('invalid_request', 'this server takes KV for running requests only');
    const known = this.#reservations.get(request.reservationId);
    if (known) {
      this.#renew(known);
      return { transferToken: known.transferToken };
    }
    const { running, maxRunning } = { running: this.#host.running(), maxRunning: this.#host.maxRunning() };
    if (running + this.#reservations.size >= maxRunning) return refusal('target_full', `the server takes ${maxRunning} requests, and has them`, 500);
    if (this.#reservations.size >= maxReservations) return refusal('target_full', `${maxReservations} reservations are held`, 500);
    const reservation: Reservation = { ...request, moved: undefined, extra: undefined, cancelExpiry: () => {} };
    this.#reservations.set(request.reservationId, reservation);
    this.#expired.delete(request.reservationId);
    this.#renew(reservation);
    this.#host.changed();
    return { transferToken: request.transferToken };
  }

  incoming(reservationId: string, transferToken: string): StageTarget | Refusal {
    const reservation = this.#reservation(reservationId);
    if ('code' in reservation) return reservation;
    if (reservation.transferToken !== transferToken) return refusal('permission_denied', 'the transfer token is not the one that was agreed');
    return {
      have: () => [],
      write: () => refusal('invalid_request', 'between these servers no blocks travel by way of their agents'),
      commit: (_, last, state) => {
        const live = this.#reservation(reservationId);
        return 'code' in live ? live : this.#commit(live, last, state);
      },
    };
  }

  dropReservation(reservationId: string): void {
    const reservation = this.#reservations.get(reservationId);
    if (!reservation) return;
    this.#remove(reservation);
    if (reservation.moved) this.#way.forget(reservation.moved.given);
    this.#host.changed();
  }

  /** What a reservation holds, which is used up. Refused: `unknown_reservation`, `reservation_expired`, `stale_epoch`, `transfer_failed`. */
  takeOver(request: GenerateRequest): TakenOver | Refusal {
    const reservation = this.#reservation(request.reservationId);
    if ('code' in reservation) return reservation;
    const { reservationId: id, moved, extra } = reservation;
    if (reservation.requestId !== request.requestId) return refusal('unknown_reservation', `reservation ${id} is not for ${request.requestId}`);
    if (reservation.epoch !== request.epoch) return refusal('stale_epoch', `reservation ${id} is for epoch ${reservation.epoch}`);
    if (!moved || !extra) return refusal('transfer_failed', `the last stage of ${id} has not arrived`);
    const produced = moved.request.nextIndex;
    // The gateway's log ends where an event does.
    if (request.nextIndex !== produced && !moved.told.some(({ index }) => index === request.nextIndex))
      return refusal(
        'transfer_failed',
        `${request.requestId} is wanted from token ${request.nextIndex} on, and its last ones before ${produced} are here`,
      );
    this.#remove(reservation);
    const { epoch, keyId, sloClass, requestId } = request;
    return {
      request: { ...moved.request, requestId, epoch, keyId, sloClass, traceparent: request.traceparent || moved.request.traceparent },
      promptIds: moved.promptIds,
      extra,
      told: moved.told.filter(({ index }) => index >= request.nextIndex),
    };
  }

  close(): void {
    for (const { cancelLease } of this.#leaving.values()) cancelLease();
    this.#leaving.clear();
    for (const reservation of [...this.#reservations.values()]) this.#remove(reservation);
  }

  async #give(stopped: Stopped, reservationId: string, pausedAtMs: number): Promise<StageSource | Refusal> {
    const { requestId, epoch } = stopped.request;
    let promptIds: readonly number[] = [];
    let given: Fields | Refusal;
    try {
      const read = stopped.promptIds ?? (await this.#host.promptIds(stopped.request));
      if ('code' in read) return read;
      promptIds = read;
      const tokenIds = [...promptIds, ...stopped.outputIds];
      given = await this.#way.give({ reservationId, tokenIds, others: this.#host.running() });
    } catch (thrown) {
      given = toRefusal(thrown);
    }
    if (isRefusal(given)) return refusal('transfer_failed', given.message);
    const leaving = this.#leaving.get(keyOf(requestId, epoch));
    if (!leaving || leaving.reservationId !== reservationId) {
      this.#way.forget(given);
      return refusal('cancelled', `${requestId} was released meanwhile`);
    }
    leaving.given = given;
    const live = () =>
      this.#leaving.get(keyOf(requestId, epoch)) === leaving ? undefined : refusal('cancelled', `${requestId} was released meanwhile`);
    return stageOf(encodeMoved(stopped, promptIds, this.#host.model, given), stopped.outputIds.length, pausedAtMs, live);
  }

  async #commit(reservation: Reservation, last: boolean, state: Uint8Array): Promise<{ missing: readonly number[] } | Refusal> {
    this.#renew(reservation);
    if (!last || reservation.moved) return { missing: [] };
    const moved = decodeMoved(state, { requestId: reservation.requestId, model: this.#host.model });
    if ('code' in moved) return moved;
    let taken: { readonly extra: Fields } | Refusal;
    try {
      taken = await this.#way.take(moved.given);
    } catch (thrown) {
      taken = refusal('transfer_failed', toRefusal(thrown).message);
    }
    if ('code' in taken) return taken;
    reservation.moved = moved;
    reservation.extra = taken.extra;
    return { missing: [] };
  }

  #lease(leaving: Leaving, requestId: string, epoch: number, ms: number): void {
    leaving.cancelLease();
    leaving.cancelLease = this.#host.clock.after(ms, () => this.release(requestId, epoch, false));
  }

  #renew(reservation: Reservation): void {
    reservation.cancelExpiry();
    reservation.cancelExpiry = this.#host.clock.after(reservation.ttlMs, () => {
      this.dropReservation(reservation.reservationId);
      this.#expired.add(reservation.reservationId);
      if (this.#expired.size > maxExpired) this.#expired.delete(this.#expired.values().next().value!);
    });
  }

  #remove(reservation: Reservation): void {
    reservation.cancelExpiry();
    this.#reservations.delete(reservation.reservationId);
  }

  #reservation(id: string): Reservation | Refusal {
    const found = this.#reservations.get(id);
    if (found) return found;
    if (this.#expired.has(id)) return refusal('reservation_expired', `reservation ${id} has expired`);
    return refusal('unknown_reservation', `no reservation ${id} here`);
  }
}

function stageOf(state: Uint8Array, nextIndex: number, pausedAtMs: number, lost: () => Refusal | undefined): StageSource {
  return {
    ...{ blockBytes: 1, blocks: [], versions: [], state, nextIndex, pausedAtMs },
    read: () => noBytes,
    confirmed: () => lost() ?? { blocksRemaining: 0 },
  };
}

function keyOf(requestId: string, epoch: number): string {
  return `${requestId}@${epoch}`;
}

/** Notes of servers have no `code` beside a `message`. */
function isRefusal(value: Fields | Refusal): value is Refusal {
  return typeof value.code === 'string' && typeof value.message === 'string';
}
