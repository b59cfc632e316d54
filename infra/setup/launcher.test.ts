import { describe, expect, test } from 'vitest';
import { fleetSchema } from '../../lib/config/fleet.ts';
import { decideStart, decideStop, initialState, type LauncherState, maxInstances } from './launcher.ts';

const sim = { profile: 'any' };
const fleet = fleetSchema.parse({
  pools: [
    { id: 'chat', models: ['small'], instances: 2, sim },
    { id: 'large', models: ['big'], instances: 1, sim },
  ],
});
const begun = initialState(fleet, undefined);
const ids = (state: LauncherState) => state.instances.map((one) => one.id);

function done(decision: ReturnType<typeof decideStart>) {
  if (decision.refusal) throw new Error(decision.refusal.code);
  return decision;
}

describe('launcher', () => {
  test('the first start follows the fleet file', () => {
    expect(ids(begun)).toEqual(['chat-1', 'chat-2', 'large-1']);
  });

  test('a later start keeps what scaling made of it, and takes up new pools', () => {
    const kept = { instances: [{ id: 'chat-7', pool: 'chat' }], epochs: { chat: 4, gone: 2 } };
    expect(initialState(fleet, kept)).toEqual({
      instances: [
        { id: 'chat-7', pool: 'chat' },
        { id: 'large-1', pool: 'large' },
      ],
      epochs: { chat: 4, large: 0 },
    });
  });

  test('a pool that was scaled to nothing stays empty', () => {
    expect(ids(initialState(fleet, { instances: [], epochs: { chat: 4, large: 1 } }))).toEqual([]);
  });

  test('servers that run already are those of the fleet file, by their names, whatever ran before', () => {
    const servers = [{ url: 'http://a', id: 'east' }, { url: 'http://b' }];
    const remote = fleetSchema.parse({ pools: [{ id: 'vllm', models: ['m'], engine: 'openai', instances: 2, openai: { servers } }] });
    expect(ids(initialState(remote, undefined))).toEqual(['east', 'vllm-2']);
    expect(ids(initialState(remote, { instances: [{ id: 'vllm-9', pool: 'vllm' }], epochs: { vllm: 3 } }))).toEqual(['east', 'vllm-2']);
  });

  test('starting twice starts once', () => {
    const command = { pool: 'chat', instanceId: 'chat-3', epoch: 1 };
    const first = done(decideStart(begun, command));
    expect(first.start).toEqual({ id: 'chat-3', pool: 'chat' });
    expect(done(decideStart(first.state, command))).toEqual({ state: first.state });
  });

  test('stopping twice stops once', () => {
    const command = { pool: 'chat', instanceId: 'chat-2', epoch: 1 };
    const first = done(decideStop(begun, command));
    expect(first.stop).toEqual({ id: 'chat-2', pool: 'chat' });
    expect(ids(first.state)).toEqual(['chat-1', 'large-1']);
    expect(done(decideStop(first.state, command)).stop).toBeUndefined();
  });

  test('commands of an older owner are refused', () => {
    const { state } = done(decideStart(begun, { pool: 'chat', instanceId: 'chat-3', epoch: 5 }));
    expect(decideStop(state, { pool: 'chat', instanceId: 'chat-3', epoch: 4 }).refusal?.code).toBe('stale_epoch');
    expect(decideStart(state, { pool: 'large', instanceId: 'large-2', epoch: 1 }).refusal).toBeUndefined();
  });

  test.each([
    [{ pool: 'nowhere', instanceId: 'nowhere-1', epoch: 1 }, 'unknown_pool'],
    [{ pool: 'chat', instanceId: '../chat', epoch: 1 }, 'invalid_request'],
    [{ pool: 'chat', instanceId: 'large-1', epoch: 1 }, 'invalid_request'],
  ])('refuses %o with %s', (command, code) => {
    expect(decideStart(begun, command).refusal?.code).toBe(code);
  });

  test('stops taking instances at its limit', () => {
    let state = begun;
    for (let index = 0; state.instances.length < maxInstances; index += 1) {
      state = done(decideStart(state, { pool: 'chat', instanceId: `chat-x${index}`, epoch: 1 })).state;
    }
    expect(decideStart(state, { pool: 'chat', instanceId: 'chat-more', epoch: 1 }).refusal?.code).toBe('out_of_range');
  });
});
