import { expect, test } from 'vitest';
import { VirtualClock } from '../clock/virtual-clock.ts';
import type { Store } from '../ports/store.ts';
import { seededRng } from '../rng/seeded-rng.ts';
import { createMemoryStore } from '../store/memory-store.ts';
import { createMemoryTelemetry } from '../telemetry/memory-telemetry.ts';
import { keepOwning, leaseOwner } from './ownership.ts';

const ttlMs = 6_000;

function world() {
  const clock = new VirtualClock();
  const store = createMemoryStore(clock);
  const telemetry = createMemoryTelemetry(clock, { process: 'test' });
  const history: string[] = [];
  const contend = (owner: string, through: Store = store) =>
    keepOwning({
      name: 'queue/chat',
      owner,
      ttlMs,
      clock,
      store: through,
      telemetry,
      gained: ({ epoch }) => history.push(`${owner} gained ${epoch - firstEpoch}`),
      lost: ({ epoch }) => history.push(`${owner} lost ${epoch - firstEpoch}`),
    });
  const firstEpoch = 1;
  return { clock, store, history, contend };
}

test('one owner at a time, which keeps its epoch for as long as it renews', async () => {
  const { clock, history, contend } = world();
  const [a, b] = [contend('a'), contend('b')];
  await clock.advance(20 * ttlMs);
  expect(history).toEqual(['a gained 0']);
  expect([a.lease()?.epoch, b.lease()]).toEqual([1, undefined]);
});

test('when the owner stops, another takes over soon, with a higher epoch', async () => {
  const { clock, history, contend } = world();
  const a = contend('a');
  await clock.advance(1);
  const b = contend('b');
  await clock.advance(1);
  const stopping = a.stop();
  await clock.advance(ttlMs / 6);
  await stopping;
  expect(history).toHaveLength(3);
  expect(history.slice(0, 2)).toEqual(['a gained 0', 'a lost 0']);
  expect(b.lease()!.epoch).toBeGreaterThan(1);
  await clock.advance(10 * ttlMs);
  expect(history).toHaveLength(3);
});

test('an owner that was held up for longer than its lease learns that it is another one now', async () => {
  const { clock, store, history, contend } = world();
  let isHeldUp = false;
  const heldUp = new Proxy(store, {
    get(target, name: keyof Store) {
      const member = target[name] as (...args: unknown[]) => unknown;
      return async (...args: unknown[]) => {
        while (isHeldUp) await new Promise<void>((resolve) => clock.after(50, resolve));
        return member.apply(target, args);
      };
    },
  });
  const a = contend('a', heldUp);
  await clock.advance(1);
  const b = contend('b');
  isHeldUp = true;
  await clock.advance(ttlMs * 2);
  expect(b.lease()).toBeDefined();
  isHeldUp = false;
  await clock.advance(ttlMs);
  expect(a.lease()).toBeUndefined();
  expect(history.map((each) => each.replace(/ \d+$/, ''))).toEqual(['a gained', 'b gained', 'a lost']);
});

test('while the store is away the owner goes on; when it comes back within the lease nothing has changed', async () => {
  const { clock, store, history, contend } = world();
  const a = contend('a');
  contend('b');
  await clock.advance(ttlMs / 2);
  store.setOutage(true);
  await clock.advance(ttlMs / 3);
  expect(a.lease()).toBeDefined();
  store.setOutage(false);
  await clock.advance(ttlMs * 3);
  expect(history).toEqual(['a gained 0']);
});

test('after an outage longer than the lease there is one owner again, under a higher epoch', async () => {
  const { clock, store, history, contend } = world();
  const [a, b] = [contend('a'), contend('b')];
  await clock.advance(1);
  store.setOutage(true);
  await clock.advance(ttlMs * 3);
  store.setOutage(false);
  await clock.advance(ttlMs);
  const leases = [a.lease(), b.lease()].filter((lease) => lease !== undefined);
  expect(leases).toHaveLength(1);
  expect(leases[0]!.epoch).toBeGreaterThan(1);
  expect(history.filter((each) => each.startsWith('a lost'))).toHaveLength(1);
});

test('starting over gives a higher epoch, and a chance to others', async () => {
  const { clock, history, contend } = world();
  const a = contend('a');
  await clock.advance(ttlMs);
  await a.startOver();
  await clock.advance(1);
  expect(history.slice(0, 2)).toEqual(['a gained 0', 'a lost 0']);
  expect(a.lease()!.epoch).toBeGreaterThan(1);
  await clock.advance(5 * ttlMs);
  expect(history).toHaveLength(3);
});

test('one that is stopped while it asks for the lease does not keep it', async () => {
  const { clock, store, contend } = world();
  const a = contend('a');
  await a.stop();
  await clock.advance(1);
  expect(a.lease()).toBeUndefined();
  expect(await store.acquire('queue/chat', 'b', ttlMs)).toBeDefined();
});

test('a process that was restarted under the same name is another owner', () => {
  const rng = seededRng(1);
  const identity = { id: 'admission-1', pid: 1 };
  const [first, second] = [leaseOwner({ identity, rng }), leaseOwner({ identity, rng })];
  expect(first).toMatch(/^admission-1\//);
  expect(first).not.toBe(second);
});
