import { beforeEach, describe, expect, test } from 'vitest';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { VirtualClock } from '../clock/virtual-clock.ts';
import type { Store } from '../ports/store.ts';
import { seededRng } from '../rng/seeded-rng.ts';
import { createMemoryStore } from '../store/memory-store.ts';
import { createKeyCache } from './key-cache.ts';
import { createKey, listKeys, readKey, revokeKey } from './keys.ts';

let clock: VirtualClock;
let store: Store;
let reads: number;
let away: boolean;
const rng = seededRng(3);

beforeEach(() => {
  clock = new VirtualClock();
  const memory = createMemoryStore(clock);
  reads = 0;
  away = false;
  store = {
    ...memory,
    async get(key) {
      reads++;
      if (away) throw new SwitchyardError('store_unavailable', 'away');
      return memory.get(key);
    },
  };
});

const cache = (options: object = {}) => createKeyCache({ store, clock, ttlMs: 900, graceMs: 60_000, maxEntries: 100, ...options });
const make = (name = 'one') => createKey({ store, clock, rng }, { name, limits: { requestsPerMinute: 60 } });

describe('keys', () => {
  test('the secret is shown once and is not in the store', async () => {
    const { secret, key } = await make();
    expect(secret).toMatch(/^sk-sy-[0-9a-z]{40}$/);
    expect(key.limits).toEqual({ requestsPerMinute: 60, tokensPerMinute: 0, budgetMicros: 0 });
    const stored = (await store.list('')).map((entry) => new TextDecoder().decode(entry.value)).join();
    expect(stored).toContain(key.sha256);
    expect(stored).not.toContain(secret.slice(6));
  });

  test('are listed and revoked, once', async () => {
    const { key } = await make();
    await clock.advance(5);
    expect(await revokeKey({ store, clock }, key.id)).toBe(true);
    const revokedMs = clock.now();
    await clock.advance(5);
    expect(await revokeKey({ store, clock }, key.id)).toBe(true);
    expect((await listKeys(store)).map((each) => each.revokedMs)).toEqual([revokedMs]);
    expect(await revokeKey({ store, clock }, 'nobody')).toBe(false);
    expect((await readKey(store, key.id))?.name).toBe('one');
  });
});

describe('the cache', () => {
  test('reads a key once while it is fresh, also for callers at the same time', async () => {
    const { secret, key } = await make();
    const keys = cache();
    const found = await Promise.all([keys.find(secret), keys.find(secret)]);
    expect(found.map((each) => each?.id)).toEqual([key.id, key.id]);
    expect(keys.find(secret)).toMatchObject({ id: key.id });
    expect(reads).toBe(1);
  });

  test('does not know a revoked key after its time', async () => {
    const { secret, key } = await make();
    const keys = cache();
    await keys.find(secret);
    await revokeKey({ store, clock }, key.id);
    await clock.advance(900);
    expect(await keys.find(secret)).toBeUndefined();
  });

  test('does not know a key that shares only the id', async () => {
    const { secret, key } = await make();
    await store.set(`key/${key.id}`, new TextEncoder().encode(JSON.stringify({ ...key, sha256: `${key.id}${'0'.repeat(48)}` })));
    expect(await cache().find(secret)).toBeUndefined();
  });

  test('goes on with known keys while the store is away, for a while', async () => {
    const { secret, key } = await make();
    const keys = cache();
    await keys.find(secret);
    away = true;
    await clock.advance(30_000);
    expect((await keys.find(secret))?.id).toBe(key.id);
    await clock.advance(60_000);
    await expect(keys.find(secret)).rejects.toThrow('away');
  });

  test('is bounded', async () => {
    const keys = cache({ maxEntries: 2 });
    for (const name of ['a', 'b', 'c']) await keys.find(`sk-sy-${name}`);
    reads = 0;
    await keys.find('sk-sy-c');
    await keys.find('sk-sy-a');
    expect(reads).toBe(1);
  });
});
