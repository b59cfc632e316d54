// The keys that a process lets in: a cache that also hears of revocations.
import { keyRevoked } from '../contracts.ts';
import type { Ports } from '../ports/ports.ts';
import { createKeyCache, type KeyCache, type KeyCacheOptions } from './key-cache.ts';

export interface WatchedKeys extends KeyCache {
  stop(): Promise<void>;
}

export function watchKeys({ bus, store, clock }: Ports, options: Omit<KeyCacheOptions, 'store' | 'clock'>): WatchedKeys {
  const keys = createKeyCache({ store, clock, ...options });
  const subscription = bus.subscribe(keyRevoked, [], ({ keyId }) => keys.forget(keyId));
  return { ...keys, stop: () => subscription.stop() };
}
