// Moving sequences of the llama engine: their state is saved whole and travels in equal blocks; a target that has loaded it
// computes the tokens that the source goes on to produce, until it takes over. What arrives is judged here (envelope.ts,
// state-file/) before native code sees it.
import { refusal, SwitchyardError, toRefusal } from '../../../core/errors/switchyard-error.ts';
import { type Refusal, SequenceState } from '../../../proto/gen/messages.ts';
import type { GenerateRequest, KvAdapter, ReservationRequest, StageSource, StageTarget } from '../../ports/engines.ts';
import { findSequence, keyOf } from '../find-sequence.ts';
import type { EngineFacts as ChildFacts } from './child/messages.ts';
import { decodeEnvelope, type EngineFacts, encodeEnvelope, envelopeOf, kvFormatOf } from './envelope.ts';
import { Following } from './following.ts';
import { tokenAfter } from './foreseen.ts';
import { encodeState, type Generation, generationOf, historyOf, type SequenceCopy } from './generation.ts';
import { IncomingState } from './incoming-state.ts';
import { judgeState } from './judge-state.ts';
import type { LlamaEngine } from './llama-engine.ts';
import { type Reservation, Reservations } from './reservations.ts';
import { retargetStreams } from './state-file/retarget-streams.ts';
import { readStateFile } from './state-file/state-file.ts';

/** A state goes out in blocks of about this size, so that several connections can carry it. */
const blockBytesAim = 256 * 1024;
const noBytes = new Uint8Array(0);

export class LlamaKv implements KvAdapter {
  readonly #engine: LlamaEngine;
  readonly #reservations: Reservations;
  readonly following: Following;
  #facts: EngineFacts | undefined;
  #maxStateBytes = 0;

  constructor(engine: LlamaEngine) {
    this.#engine = engine;
    this.#reservations = new Reservations(engine.options.clock, (reservation) => {
      this.#letGo(reservation);
      engine.changed();
    });
    this.following = new Following(engine, this.#reservations);
  }

  /** Which engines can load each other's states; empty: this one's cannot be moved. */
  get format(): string {
    return this.#facts ? kvFormatOf(this.#facts) : '';
  }

  get reservedBlocks(): number {
    return this.#reservations.blocks;
  }

  /** What the engine's states look like. `sample`: one that it has saved. */
  learn(facts: ChildFacts, sample: Uint8Array): void {
    this.#facts = undefined;
    const { contextTokens, flashAttention } = this.#engine.options.config;
    if (!facts.plainKv) return;
    const read = readStateFile(sample, { vocabularySize: facts.vocabularySize, contextTokens });
    // A release, or a kind of model, with another form: everything else works.
    if ('code' in read) return;
    const { release, systemInfo, modelSha256 } = facts;
    this.#facts = { release, cpuFlags: systemInfo, modelSha256, flashAttention, shape: read.shape };
    const { layers, kCellBytes, vCellBytes } = read.shape;
    // Beside the cells: 16 bytes for each token, the rest for each layer and stream; padding of the last block.
    this.#maxStateBytes = contextTokens * (layers * (kCellBytes + vCellBytes) + 16) + layers * 64 + blockBytesAim;
  }

  async beginStage(options: Parameters<KvAdapter['beginStage']>[0]): Promise<StageSource | Refusal> {
    const { requestId, epoch, reservationId, last, pauseLeaseMs } = options;
    const found = findSequence(this.#engine, requestId, epoch);
    if ('code' in found) return found;
    if (!this.#facts) return refusal('not_movable', 'the state of this model cannot be moved: move by recompute');
    if (found.phase !== 'running') return refusal('not_movable', `${requestId} waits for its turn: nothing of it is computed yet`);
    if (found.copy?.reservationId !== reservationId) found.copy = { reservationId, saved: undefined, confirmedTokens: 0 };
    const { copy } = found;
    const wasPaused = found.paused;
    if (last) this.#lease(found, pauseLeaseMs);
    const failed = await this.#capture(found, copy, last, wasPaused);
    // The step that was running may have ended the sequence, or someone else has begun to copy it.
    const lost = this.#lost(found, copy) ?? failed;
    if (lost) {
      if (last) this.#resume(found);
      return lost;
    }
    if (last) {
      found.tail = undefined;
      if (!wasPaused) this.#engine.tell(found, 'paused');
      this.#engine.changed();
    }
    return this.#stage(found, copy, last);
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
      generation.tail = undefined;
      this.#resume(generation);
    }
    return undefined;
  }

  reserve(request: ReservationRequest): { transferToken: string } | Refusal {
    const { running, slots, blocksOfSequence } = this.#engine;
    const known = this.#reservations.get(request.reservationId);
    if (known) {
      this.#reservations.renew(known, request.ttlMs);
      return { transferToken: known.transferToken };
    }
    if (request.purpose === 'cache') return refusal('invalid_request', 'this engine caches prefixes of its own sequences only');
    if (!running) return refusal('engine_unavailable', "the engine's process is being started");
    if (!this.#facts) return refusal('not_movable', 'no state can be moved to this model: move by recompute');
    if (request.blocks > blocksOfSequence)
      return refusal('target_full', `${request.blocks} blocks wanted, a sequence here has ${blocksOfSequence}`, 500);
    const slot = slots.take(`reservation ${request.reservationId}`, []);
    if (slot === undefined) return refusal('target_full', `the batch of ${this.#engine.options.config.maxRunning} is full`, 500);
    const reservation = this.#reservations.add(request, slot, new IncomingState(this.#maxStateBytes));
    this.#engine.changed();
    return { transferToken: reservation.transferToken };
  }

  incoming(reservationId: string, transferToken: string): StageTarget | Refusal {
    const reservation = this.#reservations.find(reservationId);
    if ('code' in reservation) return reservation;
    if (reservation.transferToken !== transferToken) return refusal('permission_denied', 'the transfer token is not the one that was agreed');
    const live = () => {
      const found = this.#reservations.find(reservationId);
      return 'code' in found ? found : undefined;
    };
    return {
      have: () => reservation.pieces.whole(),
      write: (piece) => live() ?? reservation.pieces.write(piece),
      commit: (versions, last, state) => live() ?? this.#commitInTurn(reservation, versions, last, state),
      follow: (firstIndex, tokenIds) => {
        if (live()) return;
        this.#reservations.touch(reservation);
        this.following.feed(reservation, firstIndex, tokenIds);
      },
    };
  }

  dropReservation(reservationId: string): void {
    const reservation = this.#reservations.remove(reservationId);
    if (!reservation) return;
    this.#letGo(reservation);
    this.#engine.changed();
  }

  /** Turns a ready reservation into a sequence. Refused: `unknown_reservation`, `reservation_expired`, `stale_epoch`, `transfer_failed`. */
  takeOver(request: GenerateRequest, held: boolean): Generation | Refusal {
    const reservation = this.#reservations.find(request.reservationId);
    if ('code' in reservation) return reservation;
    const { id, requestId, epoch, state, slot, following, request: read } = reservation;
    if (requestId !== request.requestId) return refusal('unknown_reservation', `reservation ${id} is not for ${request.requestId}`);
    if (epoch !== request.epoch) return refusal('stale_epoch', `reservation ${id} is for epoch ${epoch}`);
    if (!state || !read) return refusal('transfer_failed', `the last stage of ${id} has not arrived`);
    const { loaded } = this.#engine.running!;
    const { model, config } = this.#engine.options;
    const generation = generationOf({
      ...{ id: this.#engine.newId(), epoch, facts: { ...state, model, traceparent: request.traceparent || state.traceparent }, request: read },
      ...{ fingerprint: this.#engine.fingerprint, vocabulary: loaded.vocabulary, outputIds: state.outputTokenIds, shown: undefined, held },
      fromIndex: request.nextIndex,
    });
    generation.promptIds = state.promptTokenIds;
    generation.maxOutputTokens = Math.min(state.maxOutputTokens, config.contextTokens - state.promptTokenIds.length);
    generation.cachedTokens = state.cachedTokens;
    generation.phase = 'waiting';
    generation.slot = slot;
    generation.goesOnFrom = following;
    if (!held) generation.foreseen = tokenAfter(reservation, historyOf(generation));
    this.#reservations.remove(id);
    this.#engine.slots.give(slot, generation.key);
    return generation;
  }

  /** The engine's process has died, and everything in it. */
  lose(): void {
    for (const { id } of [...this.#reservations.all()]) this.#reservations.remove(id);
  }

  close(): void {
    this.lose();
    this.#reservations.stop();
  }

  /** Has the state saved, where the target needs one, and the sequence paused for the last stage. */
  async #capture(generation: Generation, copy: SequenceCopy, last: boolean, wasPaused: boolean): Promise<Refusal | undefined> {
    const { child } = this.#engine.running ?? {};
    if (!child) return refusal('engine_unavailable', "the engine's process has ended");
    const { id } = generation;
    const isEnough = copy.confirmedTokens > 0 || (last && wasPaused && copy.saved !== undefined);
    if (isEnough && !last) return undefined;
    const path = this.#engine.folder.newPath();
    try {
      const answer = await child.ask(isEnough ? { type: 'pause', id } : { type: 'save', id, path, pause: last });
      if (answer.type === 'no') return answer.code === 'unknown_request' ? undefined : refusal('engine_error', answer.message);
      if (answer.type !== 'saved') return undefined;
      const bytes = await this.#engine.folder.take(path);
      if (answer.tokens === 0) return refusal('not_movable', `nothing of ${generation.facts.requestId} is computed yet`);
      copy.saved = { bytes, tokens: answer.tokens };
      return undefined;
    } catch (thrown) {
      return thrown instanceof SwitchyardError ? toRefusal(thrown) : refusal('transfer_failed', `the state could not be saved: ${String(thrown)}`);
    }
  }

  #stage(generation: Generation, copy: SequenceCopy, last: boolean): StageSource {
    const { config } = this.#engine.options;
    const { outputIds } = generation;
    const told = outputIds.length;
    const saved = copy.confirmedTokens > 0 ? undefined : copy.saved;
    const count = saved ? Math.ceil(saved.bytes.length / blockBytesAim) : 0;
    const blockBytes = saved ? Math.ceil(saved.bytes.length / count) : 1;
    const versions = Array.from({ length: count }, () => saved!.tokens);
    const from = { facts: this.#facts!, contextTokens: config.contextTokens, sequences: config.maxRunning };
    const envelope = saved ? encodeEnvelope(envelopeOf(from, saved.bytes, saved.tokens)) : noBytes;
    return {
      blockBytes,
      blocks: versions.map((version, block) => ({ block, version })),
      versions,
      state: encodeState(generation, envelope),
      nextIndex: told,
      pausedAtMs: last ? generation.lastTokenAtMs : 0,
      read: (block, offset, bytes) => {
        const lost = this.#lost(generation, copy);
        if (lost) throw new SwitchyardError(lost.code as 'sequence_finished', lost.message);
        const at = block * blockBytes + offset;
        const piece = saved!.bytes.subarray(at, at + bytes);
        if (piece.length === bytes) return piece;
        const padded = new Uint8Array(bytes);
        padded.set(piece);
        return padded;
      },
      confirmed: () => {
        const lost = this.#lost(generation, copy);
        if (lost) return lost;
        if (!saved || last) return { blocksRemaining: 0 };
        copy.confirmedTokens = saved.tokens;
        copy.saved = undefined;
        // What was produced meanwhile: the next stage is in place when the target has computed it.
        return { blocksRemaining: 1 };
      },
      tail: (send) => {
        generation.tail = send;
        if (outputIds.length > told) send(told, outputIds.slice(told));
        return () => {
          if (generation.tail === send) generation.tail = undefined;
        };
      },
    };
  }

  /** Commits of one reservation one after the other: a repeated one finds what the first has put in place. */
  #commitInTurn(reservation: Reservation, versions: readonly number[], last: boolean, state: Uint8Array): ReturnType<StageTarget['commit']> {
    const missing = reservation.pieces.missing(versions);
    if (missing.length > 0 && versions[0] !== reservation.loadedTokens) return { missing };
    const turn = reservation.turn.then(() => this.#commit(reservation, versions, last, state));
    reservation.turn = turn.then(
      () => {},
      () => {},
    );
    return turn;
  }

  async #commit(
    reservation: Reservation,
    versions: readonly number[],
    last: boolean,
    encoded: Uint8Array,
  ): Promise<{ missing: readonly number[] } | Refusal> {
    this.#reservations.touch(reservation);
    if (reservation.failure) return reservation.failure;
    const { model } = this.#engine.options;
    const state = SequenceState.decode(encoded.slice());
    if (state.requestId !== reservation.requestId)
      return refusal('invalid_request', `the reservation is for ${reservation.requestId}, the state of ${state.requestId}`);
    if (state.model !== model) return refusal('invalid_request', `a sequence of ${state.model} cannot go on with ${model}`);
    if (versions.length > 0 && versions[0] !== reservation.loadedTokens) {
      const failed = await this.#load(reservation, versions.length, state);
      if (failed) return failed;
    }
    if (reservation.loadedTokens === 0) return refusal('transfer_failed', 'the stage brings no state, and none is here');
    this.following.feed(reservation, 0, state.outputTokenIds);
    if (last) reservation.state = state;
    else if (versions.length === 0) await this.following.caughtUp(reservation);
    this.#engine.changed();
    return { missing: [] };
  }

  async #load(reservation: Reservation, blocks: number, state: SequenceState): Promise<Refusal | undefined> {
    const { running, options, folder } = this.#engine;
    if (!running || !this.#facts) return refusal('engine_unavailable', "the engine's process is being started");
    const { config } = options;
    const envelope = decodeEnvelope(state.engineState);
    if ('code' in envelope) return envelope;
    const blob = reservation.pieces.bytes(blocks).subarray(0, envelope.blobBytes);
    const history = [...state.promptTokenIds, ...state.outputTokenIds];
    const here = { facts: this.#facts, contextTokens: config.contextTokens };
    const read = judgeState(blob, envelope, { here, vocabularySize: running.loaded.facts.vocabularySize, history });
    if ('code' in read) return read;
    const request = this.#engine.read(state.requestId, state.endpoint, state.body);
    if ('code' in request) return request;
    this.following.end(reservation);
    reservation.loadedTokens = 0;
    const file = retargetStreams(blob, read, config.maxRunning);
    try {
      const answer = await folder.lend(file, (path) => running.child.ask({ type: 'load', slot: reservation.slot, path }));
      if (answer.type === 'no') return refusal('transfer_failed', `the engine does not take the state: ${answer.message}`);
    } catch (thrown) {
      return toRefusal(thrown);
    }
    const gone = this.#reservations.find(reservation.id);
    if ('code' in gone) return gone;
    reservation.pieces.clear();
    reservation.loadedTokens = read.tokenIds.length;
    reservation.promptTokens = state.promptTokenIds.length;
    reservation.history = history;
    reservation.request = request;
    this.following.begin(reservation, request);
    return undefined;
  }

  #letGo(reservation: Reservation): void {
    this.following.end(reservation);
    this.#engine.slots.release(reservation.slot, []);
  }

  /** Why what was sent, or is being sent, is worthless. */
  #lost(generation: Generation, copy: SequenceCopy): Refusal | undefined {
    const { requestId } = generation.facts;
    const why = this.#engine.whyEnded(generation.key);
    if (why) return refusal(why, `${requestId} has ended here`);
    if (generation.copy !== copy) return refusal('cancelled', `another copy of ${requestId} has begun, or this one was released`);
    return undefined;
  }

  /** From now on the sequence is to be paused, for as long as the lease runs. Asked again it renews the lease. */
  #lease(generation: Generation, leaseMs: number): void {
    generation.paused = true;
    generation.cancelLease();
    generation.cancelLease = this.#engine.options.clock.after(leaseMs, () => this.#resume(generation));
  }

  #resume(generation: Generation): void {
    generation.cancelLease();
    if (!generation.paused || this.#engine.generations.get(generation.key) !== generation) return;
    generation.paused = false;
    this.#engine.running?.child.tell({ type: 'resume', id: generation.id });
    this.#engine.tell(generation, 'resumed');
    this.#engine.changed();
  }
}
