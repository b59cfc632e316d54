// The names of our keys in Redis.

/** From a name of the `Store` port; a name that ends in `*` gives a pattern. */
export const keyPatterns = {
  entry: (name: string) => `sy:entry:${name}`,
  lease: (name: string) => `sy:lease:${name}`,
  snapshot: (name: string) => `sy:snapshot:${name}`,
  log: (name: string) => `sy:log:${name}`,
} as const;

/** Braces: all of one API key's entries lie in the same slot of a Redis cluster. */
export function ledgerKeys(keyId: string): string[] {
  return ['', ':open', ':amounts', ':settled'].map((part) => `sy:ledger:{${keyId}}${part}`);
}

export const ledgerPattern = 'sy:ledger:*';
