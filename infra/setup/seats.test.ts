import { expect, test } from 'vitest';
import { fleetSchema } from '../../lib/config/fleet.ts';
import { type AgentSeat, seatName } from '../../lib/roles/agent-seat.ts';
import { firstInstances, laterInstances, loneSeat, seatsOf } from './seats.ts';

const pool = (id: string, instances: number, max: number) => ({
  id,
  models: [id],
  instances,
  min: 0,
  max,
  floor: 0,
  sim: { profile: 'llama-3.1-8b-h100' },
});
const fleet = fleetSchema.parse({ pools: [pool('chat', 2, 3), pool('large', 0, 1)] });

test('agents are known before scaling starts them, with numbers to spare for some that have died', () => {
  expect(firstInstances(fleet).map(({ id }) => id)).toEqual(['chat-1', 'chat-2']);
  expect(laterInstances(fleet).map(({ id }) => id)).toEqual(['chat-3', 'chat-4', 'chat-5', 'large-1']);
  const seats = seatsOf(fleet, [
    { pool: 'chat', id: 'chat-2' },
    { pool: 'chat', id: 'mine' },
  ]);
  expect(seats.map(seatName)).toEqual(['chat-1', 'chat-2', 'chat-3', 'chat-4', 'chat-5', 'large-1', 'mine'].map((id) => `agent-${id}`));
  expect(seats.every(({ launches }) => launches === undefined)).toBe(true);
});

test('agents of instances that prefill for others may give requests away, also when they come later', () => {
  const apart = fleetSchema.parse({ pools: [{ ...pool('chat', 3, 3), prefillInstances: 1 }] });
  const givers = (seats: readonly AgentSeat[]) => seats.flatMap(({ instances }) => instances.filter(({ prefills }) => prefills).map(({ id }) => id));
  expect(givers(seatsOf(apart, []))).toEqual(['chat-1']);
  expect(givers([loneSeat(apart, { pool: 'chat', id: 'chat-1' })])).toEqual(['chat-1']);
  expect(givers(seatsOf(fleet, [{ pool: 'gone', id: 'gone-1' }]))).toEqual([]);
});
