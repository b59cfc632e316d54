import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { changeOfView } from '../tracking/fleet-replica.ts';
import { InFlightAccount } from './account.ts';
import { anInstance, aSequence, aView } from './routing-fixtures.ts';

const limits = { maxBookings: 3, graceMs: 2000, bookingTtlMs: 60_000, handOffTtlMs: 30_000 };
const booking = (requestId: string, instanceId = 'a', atMs = 0, epoch = 1) => ({
  requestId,
  instanceId,
  handOffInstanceId: '',
  epoch,
  blocks: 10,
  computeTokens: 100,
  atMs,
});

describe('account of work in flight', () => {
  test('a booking counts until a report lists the request', () => {
    const account = new InFlightAccount(limits);
    account.reconcile(changeOfView(aView([anInstance('a')])), 0);
    account.book(booking('r1'));
    expect(account.correctionOf('a')).toMatchObject({ bookedRequests: 1, bookedBlocks: 10 });
    account.reconcile(changeOfView(aView([anInstance('a', { sequenceNumber: 2, sequences: [aSequence('r1')] })])), 100);
    expect(account.correctionOf('a')).toMatchObject({ bookedRequests: 0, bookedBlocks: 0 });
  });

  test('a report made before the request arrived does not end its booking, one after the grace does', () => {
    const account = new InFlightAccount(limits);
    account.book(booking('r1'));
    account.reconcile(changeOfView(aView([anInstance('a', { sequenceNumber: 2 })])), 1999);
    expect(account.correctionOf('a').bookedRequests).toBe(1);
    account.reconcile(changeOfView(aView([anInstance('a', { sequenceNumber: 3 })])), 2000);
    expect(account.correctionOf('a').bookedRequests).toBe(0);
  });

  test('an old report seen again ends nothing: telemetry may stand still', () => {
    const account = new InFlightAccount(limits);
    const view = aView([anInstance('a')]);
    account.reconcile(changeOfView(view), 0);
    account.book(booking('r1'));
    account.reconcile(changeOfView(view), 30_000);
    expect(account.correctionOf('a').bookedRequests).toBe(1);
    account.reconcile(changeOfView(view), 60_000);
    expect(account.correctionOf('a').bookedRequests).toBe(0);
  });

  test('a request that is done is taken off a report that still lists it, once', () => {
    const account = new InFlightAccount(limits);
    const listing = (sequenceNumber: number) => aView([anInstance('a', { sequenceNumber, running: 1, sequences: [aSequence('r1')] })]);
    account.reconcile(changeOfView(listing(1)), 0);
    account.done('r1', 10);
    account.done('r1', 11);
    expect(account.correctionOf('a')).toMatchObject({ endedRequests: 1, endedBlocks: 7 });
    account.reconcile(changeOfView(listing(2)), 100);
    expect(account.correctionOf('a').endedRequests).toBe(1);
    account.reconcile(changeOfView(listing(3)), 2010);
    expect(account.correctionOf('a').endedRequests).toBe(0);
  });

  test('a newer epoch moves the booking, an older one does not', () => {
    const account = new InFlightAccount(limits);
    account.book(booking('r1', 'a', 0, 2));
    account.book(booking('r1', 'b', 5, 3));
    account.book(booking('r1', 'a', 6, 2));
    expect(account.booking('r1')).toMatchObject({ instanceId: 'b', epoch: 3 });
    expect(account.correctionOf('a').bookedRequests).toBe(0);
    expect(account.size).toBe(1);
  });

  test('a booking that comes after the end of its request is ignored', () => {
    const account = new InFlightAccount(limits);
    account.done('r1', 0);
    account.book(booking('r1'));
    expect(account.size).toBe(0);
  });

  test('at the limit the oldest booking is forgotten', () => {
    const account = new InFlightAccount(limits);
    for (const id of ['r1', 'r2', 'r3', 'r4']) account.book(booking(id));
    expect(account.size).toBe(3);
    expect(account.booking('r1')).toBeUndefined();
  });

  test('an instance that has left the fleet loses its bookings after the grace', () => {
    const account = new InFlightAccount(limits);
    account.book(booking('r1'));
    account.reconcile(changeOfView(aView([])), 1000);
    expect(account.size).toBe(1);
    account.reconcile(changeOfView(aView([])), 3000);
    expect(account.size).toBe(0);
  });

  test('corrections are the sums of what is booked, whatever the order of messages', () => {
    const message = fc.oneof(
      fc.record({ kind: fc.constant('book' as const), id: fc.nat({ max: 9 }), at: fc.constantFrom('a', 'b'), epoch: fc.nat({ max: 3 }) }),
      fc.record({ kind: fc.constant('done' as const), id: fc.nat({ max: 9 }), at: fc.constantFrom('a', 'b'), epoch: fc.nat() }),
      fc.record({ kind: fc.constant('report' as const), id: fc.nat({ max: 9 }), at: fc.constantFrom('a', 'b'), epoch: fc.nat() }),
    );
    fc.assert(
      fc.property(fc.array(message, { maxLength: 60 }), (messages) => {
        const account = new InFlightAccount({ ...limits, maxBookings: 5 });
        messages.forEach(({ kind, id, at, epoch }, index) => {
          const nowMs = index * 300;
          if (kind === 'book') account.book(booking(`r${id}`, at, nowMs, epoch));
          if (kind === 'done') account.done(`r${id}`, nowMs);
          if (kind === 'report')
            account.reconcile(changeOfView(aView([anInstance(at, { sequenceNumber: index, sequences: [aSequence(`r${id}`)] })])), nowMs);
          const booked = Array.from({ length: 10 }, (_, r) => account.booking(`r${r}`)).filter((entry) => entry !== undefined);
          expect(account.size).toBe(booked.length);
          expect(account.size).toBeLessThanOrEqual(5);
          for (const instanceId of ['a', 'b']) {
            const here = booked.filter((entry) => entry.instanceId === instanceId);
            const correction = account.correctionOf(instanceId);
            expect(correction.bookedRequests).toBe(here.length);
            expect(correction.bookedBlocks).toBe(here.length * 10);
            expect(correction.bookedTokens).toBe(here.length * 100);
            expect(correction.endedRequests).toBeLessThanOrEqual(1);
          }
        });
      }),
    );
  });
});
