import { expect, test } from 'vitest';
import { VirtualClock } from '../../clock/virtual-clock.ts';
import { IncomingState } from './incoming-state.ts';
import { Reservations } from './reservations.ts';

function reserve(ttlMs = 1_000) {
  const clock = new VirtualClock();
  const expired: string[] = [];
  const reservations = new Reservations(clock, ({ id }) => expired.push(id));
  const request = { reservationId: 'm', requestId: 'r', epoch: 2, blocks: 3, ttlMs, purpose: 'migration', transferToken: 't' } as const;
  return { clock, expired, reservations, reservation: reservations.add(request, 0, new IncomingState(1_000)) };
}

test('a reservation that nothing arrives for expires, and is remembered as such', async () => {
  const { clock, expired, reservations } = reserve();
  expect([reservations.blocks, reservations.find('m')]).toEqual([3, expect.objectContaining({ id: 'm' })]);
  await clock.advance(999);
  expect(expired).toEqual([]);
  await clock.advance(2);
  expect([expired, reservations.blocks]).toEqual([['m'], 0]);
  expect([reservations.find('m'), reservations.find('other')]).toMatchObject([{ code: 'reservation_expired' }, { code: 'unknown_reservation' }]);
});

test('what arrives for it keeps it', async () => {
  const { clock, expired, reservations, reservation } = reserve();
  for (let time = 0; time < 5; time++) {
    await clock.advance(900);
    reservations.touch(reservation);
  }
  expect(expired).toEqual([]);
  await clock.advance(1_001);
  expect(expired).toEqual(['m']);
});

test('one that is taken or dropped does not expire', async () => {
  const { clock, expired, reservations } = reserve();
  expect(reservations.remove('m')).toMatchObject({ id: 'm' });
  await clock.advance(5_000);
  expect(expired).toEqual([]);
});
