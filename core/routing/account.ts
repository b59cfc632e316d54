// The local account of work in flight: what has been placed and is not yet in any report, and what is in a report and
// has ended since. Without it every decision between two reports would see the same idle instance and pick it.
//
// A booking ends when a report of its instance lists the request, when a report that came later than the grace does
// not list it (it ended, or was never opened), when the request is done, or at the latest after `bookingTtlMs`.
// Any of those messages may be lost: another one then does it.
//
// A request that is to be handed over after its first token is booked at its second instance too. That booking does not end with
// the grace: a long prompt may be computed for longer.

import type { InstanceStatus, InstanceView } from '../../proto/gen/messages.ts';
import { ChurnMap } from '../collections/churn-map.ts';

export interface InFlightBooking {
  readonly requestId: string;
  /** Of the assignment. */
  readonly epoch: number;
  readonly instanceId: string;
  /** Where it goes on after its first token, with as many blocks. Empty: it stays. */
  readonly handOffInstanceId: string;
  /** KV blocks that the request wants at once. */
  readonly blocks: number;
  /** Tokens that have to be computed before its first token. */
  readonly computeTokens: number;
  readonly atMs: number;
  /** What the prompt is known by where it is cached. */
  readonly prefixHashes?: readonly number[];
}

export interface AccountLimits {
  /** At the limit the oldest booking is forgotten: reports have most likely caught up with it. */
  readonly maxBookings: number;
  /** How long an instance may take to report what was placed on it. */
  readonly graceMs: number;
  readonly bookingTtlMs: number;
  /** After this a hand-over has happened, or will not. */
  readonly handOffTtlMs: number;
}

const defaultAccountLimits: AccountLimits = { maxBookings: 50_000, graceMs: 2_000, bookingTtlMs: 600_000, handOffTtlMs: 30_000 };

/** What to add to, and take off, the last report of an instance. */
export interface LoadCorrection {
  readonly bookedRequests: number;
  readonly bookedBlocks: number;
  readonly bookedTokens: number;
  readonly endedRequests: number;
  readonly endedBlocks: number;
}

/** What differs between two views; `whole`: `changed` is all there is. */
export interface ViewChange {
  readonly whole: boolean;
  readonly changed: readonly InstanceView[];
  readonly removed: readonly string[];
}

const noCorrection: LoadCorrection = { bookedRequests: 0, bookedBlocks: 0, bookedTokens: 0, endedRequests: 0, endedBlocks: 0 };

interface InstanceAccount {
  readonly instanceId: string;
  incarnation: number;
  sequenceNumber: number;
  /** Request id to blocks, as the last report had it. */
  listed: Map<string, number>;
  booked: ChurnMap<string, InFlightBooking>;
  /** Requests that are to come from where they are computed. */
  expected: ChurnMap<string, InFlightBooking>;
  bookedBlocks: number;
  bookedTokens: number;
  endedRequests: number;
  endedBlocks: number;
}

export class InFlightAccount {
  readonly #limits: AccountLimits;
  /** By request id, oldest first. */
  readonly #bookings = new ChurnMap<string, InFlightBooking>();
  /** Bookings whose second instance has not reported the request, oldest first. Bounded like the bookings. */
  readonly #expected = new ChurnMap<string, InFlightBooking>();
  /** Requests that are done, by the time we heard of it, oldest first. Bounded like the bookings, kept for the grace. */
  readonly #ended = new Map<string, number>();
  readonly #instances = new Map<string, InstanceAccount>();
  /** Of instances that are not in the view: those that left it, and those booked that it has not had yet. */
  readonly #absent = new Set<InstanceAccount>();
  /** Request id to the accounts whose last report lists it: one, or two while it moves. */
  readonly #listedBy = new ChurnMap<string, InstanceAccount[]>();
  readonly #changed: (instanceId: string) => void;
  readonly #handedOver: (booking: InFlightBooking) => void;

  /**
   * `changed` is told of every instance whose correction is another one now, `handedOver` of every booking that has come to its
   * second instance.
   */
  constructor(
    limits: AccountLimits = defaultAccountLimits,
    changed: (instanceId: string) => void = () => {},
    handedOver: (booking: InFlightBooking) => void = () => {},
  ) {
    this.#limits = limits;
    this.#changed = changed;
    this.#handedOver = handedOver;
  }

  get size(): number {
    return this.#bookings.size;
  }

  booking(requestId: string): InFlightBooking | undefined {
    return this.#bookings.get(requestId);
  }

  /** Takes the place of an earlier booking of the same request. One of an older epoch, or of a request that has ended, came late and changes nothing. */
  book(booking: InFlightBooking): void {
    if (this.#ended.has(booking.requestId)) return;
    const earlier = this.#bookings.get(booking.requestId) ?? this.#expected.get(booking.requestId);
    if (earlier && earlier.epoch > booking.epoch) return;
    if (earlier) this.#drop(earlier);
    const account = this.#account(booking.instanceId);
    if (account.listed.has(booking.requestId)) return;
    this.#bookings.set(booking.requestId, booking);
    account.booked.set(booking.requestId, booking);
    account.bookedBlocks += booking.blocks;
    account.bookedTokens += booking.computeTokens;
    this.#changed(booking.instanceId);
    this.#expect(booking);
    if (this.#bookings.size > this.#limits.maxBookings) this.#drop(oldestOf(this.#bookings.values()));
  }

  /** The request has ended, whether or not reports still list it. Repeats change nothing. */
  done(requestId: string, nowMs: number): void {
    this.forget(requestId);
    if (this.#ended.has(requestId)) return;
    this.#ended.set(requestId, nowMs);
    for (const account of this.#listedBy.get(requestId) ?? []) this.#countEnded(account, requestId);
    if (this.#ended.size > this.#limits.maxBookings) this.#ended.delete(oldestOf(this.#ended.keys()));
  }

  /** The booking came to nothing; the request itself goes on. */
  forget(requestId: string): void {
    const booking = this.#bookings.get(requestId) ?? this.#expected.get(requestId);
    if (booking) this.#drop(booking);
  }

  /** Takes in what a newer view changes. Views must come in order; a report that was seen before changes nothing. */
  reconcile(change: ViewChange, nowMs: number): void {
    for (const [requestId, atMs] of this.#ended) {
      if (nowMs - atMs < this.#limits.graceMs) break;
      this.#ended.delete(requestId);
    }
    for (const { status } of change.changed) if (status) this.#report(status, nowMs);
    const present = change.whole && new Set(change.changed.map(({ status }) => status?.instanceId));
    if (present) for (const account of this.#instances.values()) if (!present.has(account.instanceId)) this.#leave(account);
    for (const instanceId of change.removed) {
      const account = this.#instances.get(instanceId);
      if (account) this.#leave(account);
    }
    for (const account of this.#absent) {
      this.#dropOlder(account, nowMs);
      if (account.booked.size + account.expected.size > 0) continue;
      this.#absent.delete(account);
      this.#instances.delete(account.instanceId);
    }
    for (const booking of this.#bookings.values()) {
      if (nowMs - booking.atMs < this.#limits.bookingTtlMs) break;
      this.#drop(booking);
    }
  }

  correctionOf(instanceId: string): LoadCorrection {
    const account = this.#instances.get(instanceId);
    if (!account) return noCorrection;
    const { booked, expected, bookedBlocks, bookedTokens, endedRequests, endedBlocks } = account;
    return { bookedRequests: booked.size + expected.size, bookedBlocks, bookedTokens, endedRequests, endedBlocks };
  }

  #leave(account: InstanceAccount): void {
    this.#list(account, new Map());
    this.#absent.add(account);
  }

  #report(status: InstanceStatus, nowMs: number): void {
    const account = this.#account(status.instanceId);
    this.#absent.delete(account);
    if (account.incarnation === status.incarnation && account.sequenceNumber === status.sequenceNumber) return;
    account.incarnation = status.incarnation;
    account.sequenceNumber = status.sequenceNumber;
    this.#list(account, new Map(status.sequences.map((sequence) => [sequence.requestId, sequence.blocks])));
    for (const requestId of account.listed.keys()) {
      const booking = account.booked.get(requestId);
      if (booking) this.#reported(booking);
      const expected = account.expected.get(requestId);
      if (expected) {
        this.#expectNoMore(expected);
        this.#handedOver(expected);
      }
      if (this.#ended.has(requestId)) this.#countEnded(account, requestId);
    }
    this.#dropOlder(account, nowMs);
  }

  /** Nothing that it lists has ended yet, as far as counted. */
  #list(account: InstanceAccount, listed: Map<string, number>): void {
    for (const requestId of account.listed.keys()) {
      if (listed.has(requestId)) continue;
      const others = this.#listedBy.get(requestId)!.filter((other) => other !== account);
      if (others.length > 0) this.#listedBy.set(requestId, others);
      else this.#listedBy.delete(requestId);
    }
    for (const requestId of listed.keys()) {
      if (account.listed.has(requestId)) continue;
      const others = this.#listedBy.get(requestId);
      if (others) others.push(account);
      else this.#listedBy.set(requestId, [account]);
    }
    account.listed = listed;
    account.endedRequests = 0;
    account.endedBlocks = 0;
    this.#changed(account.instanceId);
  }

  #countEnded(account: InstanceAccount, requestId: string): void {
    const blocks = account.listed.get(requestId);
    if (blocks === undefined) return;
    account.endedRequests += 1;
    account.endedBlocks += blocks;
    this.#changed(account.instanceId);
  }

  #dropOlder(account: InstanceAccount, nowMs: number): void {
    const { graceMs, handOffTtlMs } = this.#limits;
    for (const booking of account.booked.values()) if (booking.atMs <= nowMs - graceMs) this.#drop(booking);
    for (const booking of account.expected.values()) if (booking.atMs <= nowMs - handOffTtlMs) this.#expectNoMore(booking);
  }

  #drop(booking: InFlightBooking): void {
    this.#reported(booking);
    this.#expectNoMore(booking);
  }

  #expect(booking: InFlightBooking): void {
    if (booking.handOffInstanceId === '') return;
    const account = this.#account(booking.handOffInstanceId);
    if (account.listed.has(booking.requestId)) return;
    this.#expected.set(booking.requestId, booking);
    account.expected.set(booking.requestId, booking);
    account.bookedBlocks += booking.blocks;
    this.#changed(account.instanceId);
    if (this.#expected.size > this.#limits.maxBookings) this.#expectNoMore(oldestOf(this.#expected.values()));
  }

  /** The second instance has it, or will not get it. */
  #expectNoMore(booking: InFlightBooking): void {
    this.#expected.delete(booking.requestId);
    const account = this.#instances.get(booking.handOffInstanceId);
    if (!account?.expected.delete(booking.requestId)) return;
    account.bookedBlocks -= booking.blocks;
    this.#changed(account.instanceId);
  }

  /** The first instance has it, or will not get it. */
  #reported(booking: InFlightBooking): void {
    this.#bookings.delete(booking.requestId);
    const account = this.#instances.get(booking.instanceId);
    if (!account?.booked.delete(booking.requestId)) return;
    account.bookedBlocks -= booking.blocks;
    account.bookedTokens -= booking.computeTokens;
    this.#changed(booking.instanceId);
  }

  #account(instanceId: string): InstanceAccount {
    let account = this.#instances.get(instanceId);
    if (!account) {
      account = {
        instanceId,
        incarnation: 0,
        sequenceNumber: 0,
        listed: new Map(),
        booked: new ChurnMap(),
        expected: new ChurnMap(),
        bookedBlocks: 0,
        bookedTokens: 0,
        endedRequests: 0,
        endedBlocks: 0,
      };
      this.#instances.set(instanceId, account);
      this.#absent.add(account);
    }
    return account;
  }
}

/** Not asked for while there is room: a Map looks for its first entry past all those that were deleted since it last grew. */
function oldestOf<T>(inOrder: Iterator<T>): T {
  return inOrder.next().value!;
}
