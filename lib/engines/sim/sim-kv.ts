// Moving sequences of the simulated engine by their KV blocks: what a stage sends, the pause with its lease, the
// reservations with theirs, and the take-over.
import type { Reservation } from '../../../core/engine/reservations.ts';
import { blocksToSend, blockVersion, outputLength, type SequenceSpec } from '../../../core/engine/sequence.ts';
import { showable } from '../../../core/engine/stop-strings.ts';
import { refusal, SwitchyardError } from '../../../core/errors/switchyard-error.ts';
import { type Refusal, SequenceState } from '../../../proto/gen/messages.ts';
import type { GenerateRequest, KvAdapter, ReservationRequest, StageSource, StageTarget } from '../../ports/engines.ts';
import { findSequence, keyOf } from '../find-sequence.ts';
import { encodeState, type Generation, generationOf, readBody } from './generation.ts';
import type { SimEngine } from './sim-engine.ts';

/** Ids of expired reservations remembered, to name the reason to whoever comes late. */
const maxExpired = 256;
const noBytes = new Uint8Array(0);

export class SimKv implements KvAdapter {
  readonly #engine: SimEngine;
  readonly #expired = new Set<string>();
  #cancelExpiry = () => {};

  constructor(engine: SimEngine) {
    this.#engine = engine;
  }

  async beginStage(options: Parameters<KvAdapter['beginStage']>[0]): Promise<StageSource | Refusal> {
    const { requestId, epoch, reservationId, last, pauseLeaseMs } = options;
    const found = findSequence(this.#engine, requestId, epoch);
    if ('code' in found) return found;
    found.copy =
      found.copy?.reservationId === reservationId ? found.copy : { reservationId, preemptions: found.sequence.preemptions, sent: new Map() };
    if (last) {
      await this.#pause(found, pauseLeaseMs);
      // The step that was running may have ended the sequence.
      const still = findSequence(this.#engine, requestId, epoch);
      if ('code' in still) return still;
    }
    return this.#lost(found, reservationId) ?? this.#stage(found, reservationId, last);
  }

  release(requestId: string, epoch: number, committed: boolean): Refusal | undefined {
    const generation = this.#engine.generations.get(keyOf(requestId, epoch));
    if (!generation) return undefined;
    if (committed) {
      this.#engine.tell(generation, 'released');
      this.#engine.end(generation, 'cancelled');
      this.#engine.changed();
    } else {
      generation.copy = undefined;
      this.#resume(generation);
    }
    return undefined;
  }

  reserve(request: ReservationRequest): { transferToken: string } | Refusal {
    const { reservations, scheduler, options } = this.#engine;
    if (request.purpose === 'cache' && !options.config.prefixCache) return refusal('invalid_request', 'this instance keeps no prefix cache');
    const known = reservations.get(request.reservationId);
    if (!known && request.purpose === 'migration' && scheduler.running.length + reservations.size >= options.config.maxRunning) {
      return refusal('target_full', `the batch of ${options.config.maxRunning} is full`, 500);
    }
    const nowMs = options.clock.now();
    const reserved = reservations.reserve({ ...request, id: request.reservationId, nowMs });
    if ('code' in reserved) return reserved;
    this.#expired.delete(request.reservationId);
    this.#watchExpiry();
    this.#engine.changed();
    return { transferToken: reserved.transferToken };
  }

  incoming(reservationId: string, transferToken: string): StageTarget | Refusal {
    const reservation = this.#reservation(reservationId);
    if ('code' in reservation) return reservation;
    if (reservation.transferToken !== transferToken) return refusal('permission_denied', 'the transfer token is not the one that was agreed');
    const { reservations } = this.#engine;
    return {
      have: () => reservations.whole(reservation),
      write: (piece) => this.#live(reservation) ?? reservations.write(reservation, piece),
      commit: (versions, last, state) => this.#live(reservation) ?? this.#commit(reservation, versions, last, state),
    };
  }

  dropReservation(reservationId: string): void {
    this.#engine.reservations.drop(reservationId);
    this.#engine.changed();
  }

  /** Turns a ready reservation into a running sequence. Refused: `unknown_reservation`, `reservation_expired`, `stale_epoch`, `transfer_failed`. */
  takeOver(request: GenerateRequest): Generation | Refusal {
    const reservation = this.#reservation(request.reservationId);
    if ('code' in reservation) return reservation;
    if (reservation.requestId !== request.requestId || reservation.purpose !== 'migration') {
      return refusal('unknown_reservation', `reservation ${reservation.id} is not for ${request.requestId}`);
    }
    if (reservation.epoch !== request.epoch) return refusal('stale_epoch', `reservation ${reservation.id} is for epoch ${reservation.epoch}`);
    if (!reservation.state) return refusal('transfer_failed', `the last stage of ${reservation.id} has not arrived`);
    const state = SequenceState.decode(reservation.state);
    const prompt = readBody(state.endpoint, state.body);
    if ('code' in prompt) return prompt;
    const spec: SequenceSpec = {
      key: keyOf(request.requestId, request.epoch),
      promptIds: state.promptTokenIds,
      outputIds: state.outputTokenIds,
      maxOutputTokens: state.maxOutputTokens,
      endReason: state.endReason === 'stop' ? 'stop' : 'length',
      priority: state.priority,
      arrivalMs: state.arrivalMs,
      continues: true,
    };
    const { reservations, scheduler, options } = this.#engine;
    const sequence = scheduler.adopt(spec, reservations.takeOver(reservation), reservation.computed, state.cachedTokens);
    const facts = { ...state, model: options.model, traceparent: request.traceparent || state.traceparent };
    const told = { text: state.outputText, shown: showable(state.outputText, prompt.stop).length, fromIndex: request.nextIndex };
    return generationOf(sequence, request.epoch, facts, prompt.stop, told);
  }

  close(): void {
    this.#cancelExpiry();
    for (const { id } of [...this.#engine.reservations.all()]) this.#engine.reservations.drop(id);
  }

  #stage(generation: Generation, reservationId: string, last: boolean): StageSource {
    const { pool } = this.#engine;
    const { sequence, copy } = generation;
    const count = last ? pool.blocksFor(sequence.computed) : Math.floor(sequence.computed / pool.blockTokens);
    const versions = Array.from({ length: count }, (_, index) => blockVersion(sequence, index, pool.blockTokens));
    const blocks = blocksToSend(sequence, copy!.sent, last, pool.blockTokens).map((block) => ({ block, version: versions[block]! }));
    return {
      blockBytes: pool.blockBytes,
      blocks,
      versions,
      state: last ? encodeState(generation) : noBytes,
      nextIndex: outputLength(sequence),
      pausedAtMs: last ? generation.lastTokenAtMs : 0,
      read: (block, offset, bytes) => {
        const lost = this.#lost(generation, reservationId);
        if (lost) throw new SwitchyardError(lost.code as 'sequence_finished', lost.message);
        return pool.bytes(sequence.blocks[block]!).subarray(offset, offset + bytes);
      },
      confirmed: () => {
        const lost = this.#lost(generation, reservationId);
        if (lost) return lost;
        versions.forEach((version, block) => {
          copy!.sent.set(block, version);
        });
        return { blocksRemaining: blocksToSend(sequence, copy!.sent, true, pool.blockTokens).length };
      },
    };
  }

  #commit(reservation: Reservation, versions: readonly number[], last: boolean, state: Uint8Array): { missing: readonly number[] } | Refusal {
    const { reservations, options } = this.#engine;
    reservations.renew(reservation, options.clock.now());
    this.#watchExpiry();
    const missing = reservations.missing(reservation, versions);
    if (missing.length > 0) return { missing };
    if (reservation.purpose === 'cache') reservations.publishFull(reservation);
    else if (last) {
      const { model, requestId, promptTokenIds, outputTokenIds } = SequenceState.decode(state);
      if (requestId !== reservation.requestId)
        return refusal('invalid_request', `the reservation is for ${reservation.requestId}, the state of ${requestId}`);
      if (model !== options.model) return refusal('invalid_request', `a sequence of ${model} cannot go on with ${options.model}`);
      const computed = versions.reduce((sum, version) => sum + version, 0);
      const tokens = promptTokenIds.length + outputTokenIds.length;
      // The last token is always to be computed: its step gives the next one.
      if (computed >= tokens) return refusal('invalid_request', `KV of ${computed} tokens cannot be that of a sequence of ${tokens}`);
      reservation.state = state.slice();
      reservation.computed = computed;
    }
    this.#engine.changed();
    return { missing };
  }

  /** Why what was sent, or is being sent, is worthless. */
  #lost(generation: Generation, reservationId: string): Refusal | undefined {
    const { requestId } = generation.facts;
    const why = this.#engine.whyEnded(generation.key);
    if (why) return refusal(why, `${requestId} has ended here`);
    if (generation.copy?.reservationId !== reservationId)
      return refusal('cancelled', `another copy of ${requestId} has begun, or this one was released`);
    if (generation.copy.preemptions !== generation.sequence.preemptions)
      return refusal('sequence_preempted', `${requestId} has lost its blocks here`);
    return undefined;
  }

  #live(reservation: Reservation): Refusal | undefined {
    const found = this.#reservation(reservation.id);
    return 'code' in found ? found : undefined;
  }

  #reservation(id: string): Reservation | Refusal {
    const found = this.#engine.reservations.get(id);
    if (found) return found;
    if (this.#expired.has(id)) return refusal('reservation_expired', `reservation ${id} has expired`);
    return refusal('unknown_reservation', `no reservation ${id} here`);
  }

  /** Resolves when the sequence computes nothing any more. Asked again it renews the lease. */
  async #pause(generation: Generation, leaseMs: number): Promise<void> {
    const { sequence } = generation;
    const { clock } = this.#engine.options;
    const wasPaused = sequence.paused;
    sequence.paused = true;
    generation.cancelLease();
    generation.cancelLease = clock.after(leaseMs, () => this.#resume(generation));
    if (sequence.inStep) await new Promise<void>((resolve) => generation.atBoundary.push(resolve));
    if (wasPaused || !this.#engine.generations.has(generation.key)) return;
    this.#engine.tell(generation, 'paused');
    this.#engine.changed();
  }

  #resume(generation: Generation): void {
    generation.cancelLease();
    if (!generation.sequence.paused || !this.#engine.generations.has(generation.key)) return;
    generation.sequence.paused = false;
    this.#engine.tell(generation, 'resumed');
    this.#engine.changed();
  }

  #watchExpiry(): void {
    const { clock } = this.#engine.options;
    this.#cancelExpiry();
    const { expired, nextAtMs } = this.#engine.reservations.expire(clock.now());
    for (const { id } of expired) {
      this.#expired.add(id);
      if (this.#expired.size > maxExpired) this.#expired.delete(this.#expired.values().next().value!);
    }
    if (expired.length > 0) this.#engine.changed();
    if (nextAtMs !== undefined) this.#cancelExpiry = clock.after(Math.max(1, nextAtMs - clock.now()), () => this.#watchExpiry());
  }
}
