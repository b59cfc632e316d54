// Limits of API keys, read from the store through a small cache. A changed limit is seen after `ttlMs`.
import { type KeyLimits, noLimits } from '../../core/admission/limits.ts';
import { readKey } from '../../lib/auth/keys.ts';
import type { Clock } from '../../lib/ports/clock.ts';
import type { Store } from '../../lib/ports/store.ts';

export interface KeyLimitsReader {
  /** Unlimited for a key that is not there: the gateway has let it in, so it has just been revoked. @throws SwitchyardError `store_unavailable` */
  read(keyId: string): Promise<KeyLimits>;
}

/** At `maxEntries` the key that was read longest ago is forgotten. */
export function createKeyLimits(options: { store: Store; clock: Clock; ttlMs: number; maxEntries: number }): KeyLimitsReader {
  const { store, clock, ttlMs, maxEntries } = options;
  const known = new Map<string, { limits: KeyLimits; readAtMs: number }>();
  return {
    async read(keyId) {
      const entry = known.get(keyId);
      if (entry && clock.now() - entry.readAtMs < ttlMs) return entry.limits;
      const limits = (await readKey(store, keyId))?.limits ?? noLimits;
      known.delete(keyId);
      known.set(keyId, { limits, readAtMs: clock.now() });
      for (const oldest of known.keys()) {
        if (known.size <= maxEntries) break;
        known.delete(oldest);
      }
      return limits;
    },
  };
}
