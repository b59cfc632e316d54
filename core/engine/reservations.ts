// Blocks held on a target for sequences that are on their way. A reservation fills piece by piece, becomes ready with the
// sequence's state, and is then taken over; or it expires, or is given up, and its blocks are free again.

import type { Refusal } from '../../proto/gen/messages.ts';
import { ChurnMap } from '../collections/churn-map.ts';
import { refusal } from '../errors/switchyard-error.ts';
import type { BlockPool } from './block-pool.ts';
import { readSlot, stateKey } from './token-function.ts';

export interface Reservation {
  readonly id: string;
  readonly requestId: string;
  /** The epoch that the sequence will have here. */
  readonly epoch: number;
  readonly purpose: 'migration' | 'cache';
  readonly transferToken: string;
  /** Renewed by each transferred stage. */
  expiresAtMs: number;
  readonly ttlMs: number;
  blocks: number[];
  readonly arrived: Map<number, ArrivedBlock>;
  /** Encoded SequenceState once the last stage is complete. */
  state: Uint8Array | undefined;
  /** Tokens whose KV is here when `state` is. */
  computed: number;
}

interface ArrivedBlock {
  /** Tokens in the block when its sender read it. */
  version: number;
  /** Byte ranges [from, to) that are here, sorted, apart. */
  ranges: [number, number][];
}

export interface Piece {
  readonly block: number;
  readonly offset: number;
  readonly blockBytes: number;
  readonly version: number;
  readonly payload: Uint8Array;
}

export interface ReserveOptions {
  readonly id: string;
  readonly requestId: string;
  readonly epoch: number;
  readonly purpose: 'migration' | 'cache';
  readonly transferToken: string;
  readonly blocks: number;
  readonly ttlMs: number;
  readonly nowMs: number;
}

export class Reservations {
  readonly #byId = new ChurnMap<string, Reservation>();
  readonly #pool: BlockPool;
  readonly #limit: number;

  /** `limit`: reservations at the same time; further ones are refused. */
  constructor(pool: BlockPool, limit: number) {
    this.#pool = pool;
    this.#limit = limit;
  }

  get size(): number {
    return this.#byId.size;
  }

  all(): Iterable<Reservation> {
    return this.#byId.values();
  }

  get(id: string): Reservation | undefined {
    return this.#byId.get(id);
  }

  get blocks(): number {
    let sum = 0;
    for (const reservation of this.#byId.values()) sum += reservation.blocks.length;
    return sum;
  }

  /** Idempotent by id: asked again it renews. Refused: `target_full`. */
  reserve(options: ReserveOptions): Reservation | Refusal {
    const known = this.#byId.get(options.id);
    if (known) {
      known.expiresAtMs = Math.max(known.expiresAtMs, options.nowMs + options.ttlMs);
      return known;
    }
    if (this.#byId.size >= this.#limit) return refusal('target_full', `${this.#limit} reservations are held already`, 500);
    if (this.#pool.free < options.blocks) return refusal('target_full', `${options.blocks} blocks wanted, ${this.#pool.free} free`, 500);
    const blocks: number[] = [];
    for (let i = 0; i < options.blocks; i++) blocks.push(this.#pool.take()!);
    const { id, requestId, epoch, purpose, transferToken, ttlMs, nowMs } = options;
    const reservation: Reservation = {
      ...{ id, requestId, epoch, purpose, transferToken, ttlMs, blocks },
      expiresAtMs: nowMs + ttlMs,
      arrived: new Map(),
      state: undefined,
      computed: 0,
    };
    this.#byId.set(id, reservation);
    return reservation;
  }

  /** Unknown ids are fine. */
  drop(id: string): void {
    const reservation = this.#byId.get(id);
    if (!reservation) return;
    this.#byId.delete(id);
    this.#pool.dropAll(reservation.blocks);
  }

  /** Frees what has expired and gives the time of the next expiry. */
  expire(nowMs: number): { expired: Reservation[]; nextAtMs: number | undefined } {
    const expired: Reservation[] = [];
    let nextAtMs: number | undefined;
    for (const reservation of this.#byId.values()) {
      if (reservation.expiresAtMs <= nowMs) expired.push(reservation);
      else nextAtMs = Math.min(nextAtMs ?? reservation.expiresAtMs, reservation.expiresAtMs);
    }
    for (const reservation of expired) this.drop(reservation.id);
    return { expired, nextAtMs };
  }

  renew(reservation: Reservation, nowMs: number): void {
    reservation.expiresAtMs = Math.max(reservation.expiresAtMs, nowMs + reservation.ttlMs);
  }

  /** Blocks that are here whole, with the tokens each had: a sender leaves them out unless it has a fuller one. */
  whole(reservation: Reservation): { block: number; version: number }[] {
    const found: { block: number; version: number }[] = [];
    for (const [block, arrived] of reservation.arrived) if (this.#isWhole(arrived)) found.push({ block, version: arrived.version });
    return found.sort((a, b) => a.block - b.block);
  }

  /** Writes a piece that has been checked. Repeats and older versions are harmless. Refused: `target_full`, `invalid_request`. */
  write(reservation: Reservation, piece: Piece): Refusal | undefined {
    const { blockBytes, blockTokens } = this.#pool;
    const end = piece.offset + piece.payload.length;
    if (piece.blockBytes !== blockBytes || end > blockBytes || piece.version < 1 || piece.version > blockTokens) {
      return refusal('invalid_request', `piece of block ${piece.block} does not fit: blocks here have ${blockTokens} tokens in ${blockBytes} bytes`);
    }
    if (piece.block >= this.#pool.total) return refusal('target_full', `block ${piece.block} is beyond this instance`);
    // The sequence has grown while it was copied: take what is missing.
    while (reservation.blocks.length <= piece.block) {
      const block = this.#pool.take();
      if (block === undefined) return refusal('target_full', 'the sequence has outgrown its reservation and no block is free', 500);
      reservation.blocks.push(block);
    }
    let arrived = reservation.arrived.get(piece.block);
    if (arrived && arrived.version > piece.version) return undefined;
    if (arrived && arrived.version === piece.version && this.#isWhole(arrived)) return undefined;
    if (!arrived || arrived.version < piece.version) {
      arrived = { version: piece.version, ranges: [] };
      reservation.arrived.set(piece.block, arrived);
    }
    this.#pool.bytes(reservation.blocks[piece.block]!).set(piece.payload, piece.offset);
    arrived.ranges = addRange(arrived.ranges, piece.offset, end);
    return undefined;
  }

  /** Which of the first blocks are not here with at least these versions. */
  missing(reservation: Reservation, versions: readonly number[]): number[] {
    const absent: number[] = [];
    for (let block = 0; block < versions.length; block++) {
      const arrived = reservation.arrived.get(block);
      if (versions[block]! > 0 && !(arrived && arrived.version >= versions[block]! && this.#isWhole(arrived))) absent.push(block);
    }
    return absent;
  }

  /** Lets full blocks be found by their prefix, whose key is the state in a block's last slot. */
  publishFull(reservation: Reservation): number {
    const { blockTokens, memory, wordsPerToken } = this.#pool;
    const state = { lo: 0, hi: 0 };
    let published = 0;
    for (const [index, arrived] of reservation.arrived) {
      const block = reservation.blocks[index]!;
      if (arrived.version !== blockTokens || !this.#isWhole(arrived) || this.#pool.isPublished(block)) continue;
      readSlot(memory, this.#pool.slotAt(block, blockTokens - 1), wordsPerToken, state);
      this.#pool.publish(block, stateKey(state));
      published++;
    }
    return published;
  }

  /** Hands the blocks of a ready reservation to its new owner, without those that it did not need. */
  takeOver(reservation: Reservation): number[] {
    this.#byId.delete(reservation.id);
    const needed = this.#pool.blocksFor(reservation.computed);
    this.#pool.dropAll(reservation.blocks.slice(needed));
    return reservation.blocks.slice(0, needed);
  }

  #isWhole(arrived: ArrivedBlock): boolean {
    const [first] = arrived.ranges;
    return arrived.ranges.length === 1 && first![0] === 0 && first![1] === this.#pool.blockBytes;
  }
}

function addRange(ranges: readonly [number, number][], from: number, to: number): [number, number][] {
  const merged: [number, number][] = [];
  for (const range of ranges) {
    if (range[1] < from || range[0] > to) merged.push(range);
    else {
      from = Math.min(from, range[0]);
      to = Math.max(to, range[1]);
    }
  }
  merged.push([from, to]);
  return merged.sort((a, b) => a[0] - b[0]);
}
