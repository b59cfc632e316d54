// Looks up presented keys with a bounded cache in front of the store, so that a request costs a hash and a map lookup.
// A revocation is heard over the bus (watch-keys.ts); where that is missed, an entry is believed for `ttlMs`. While the store is away an entry
// is believed for `graceMs`: serving goes on, and nobody can revoke a key then.
import type { Clock } from '../ports/clock.ts';
import type { Store } from '../ports/store.ts';
import { type ApiKey, hashKey, keyIdOf, matches, readKey } from './keys.ts';

export interface KeyCacheOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly ttlMs: number;
  readonly graceMs: number;
  /** Keys remembered, unknown ones included. At the limit the one that was read longest ago is forgotten. */
  readonly maxEntries: number;
}

interface Entry {
  readonly key: ApiKey | undefined;
  readonly readAtMs: number;
}

export interface KeyCache {
  /** The record of a valid key; undefined: unknown or revoked. Synchronous when the cache knows. @throws SwitchyardError `store_unavailable` */
  find(secret: string): ApiKey | undefined | Promise<ApiKey | undefined>;
  /** The next `find` asks the store, whether it is there or not. */
  forget(keyId: string): void;
}

export function createKeyCache(options: KeyCacheOptions): KeyCache {
  const { store, clock, ttlMs, graceMs, maxEntries } = options;
  const entries = new Map<string, Entry>();
  const reading = new Map<string, Promise<ApiKey | undefined>>();
  /** What was read while something was forgotten may be what was forgotten: it is not remembered. */
  let forgotten = 0;

  async function read(sha256: string): Promise<ApiKey | undefined> {
    const askedAtMs = clock.now();
    const before = forgotten;
    try {
      const key = await readKey(store, keyIdOf(sha256));
      const valid = key && key.revokedMs === 0 && matches(key, sha256) ? key : undefined;
      if (forgotten === before) remember(sha256, { key: valid, readAtMs: askedAtMs });
      return valid;
    } catch (thrown) {
      const known = entries.get(sha256);
      if (known && clock.now() - known.readAtMs < graceMs) return known.key;
      throw thrown;
    } finally {
      reading.delete(sha256);
    }
  }

  function remember(sha256: string, entry: Entry): void {
    entries.delete(sha256);
    entries.set(sha256, entry);
    if (entries.size <= maxEntries) return;
    for (const oldest of entries.keys()) {
      entries.delete(oldest);
      break;
    }
  }

  return {
    find(secret) {
      const sha256 = hashKey(secret);
      const known = entries.get(sha256);
      if (known && clock.now() - known.readAtMs < ttlMs) return known.key;
      let running = reading.get(sha256);
      if (!running) {
        running = read(sha256);
        reading.set(sha256, running);
      }
      return running;
    },
    forget(keyId) {
      forgotten++;
      for (const sha256 of entries.keys()) if (keyIdOf(sha256) === keyId) entries.delete(sha256);
    },
  };
}
