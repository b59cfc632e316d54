// Shared state: leases with epochs, fenced snapshots, ledgers, bounded logs. Production: Redis (Lua where it must be
// atomic); twin: in memory. Both pass test/conformance/store.

/** Ownership of a name. The epoch grows with every new owner; commands of an older epoch are refused everywhere. */
export interface Lease {
  readonly name: string;
  readonly owner: string;
  readonly epoch: number;
}

export interface LedgerLimits {
  /** 0 means unlimited. */
  readonly requestsPerMinute: number;
  readonly tokensPerMinute: number;
  /** Total spend allowed, in micro-dollars. 0 means unlimited. */
  readonly budgetMicros: number;
}

export interface Reservation {
  readonly keyId: string;
  readonly requestId: string;
  /** Tokens and spend that the request may use at most. */
  readonly tokens: number;
  readonly costMicros: number;
  readonly limits: LedgerLimits;
  /** A reservation that nobody settles gives its spend back after this. */
  readonly ttlMs: number;
}

export interface LedgerState {
  readonly remainingRequests: number;
  readonly resetRequestsMs: number;
  readonly remainingTokens: number;
  readonly resetTokensMs: number;
  readonly spentMicros: number;
  readonly reservedMicros: number;
}

export type ReserveResult =
  | { readonly ok: true; readonly state: LedgerState }
  | { readonly ok: false; readonly exceeded: 'requests' | 'tokens' | 'budget'; readonly retryAfterMs: number; readonly state: LedgerState };

export interface LogEntry {
  /** Of the list. */
  readonly key: string;
  readonly value: Uint8Array;
}

export interface Store {
  get(key: string): Promise<Uint8Array | undefined>;
  set(key: string, value: Uint8Array, options?: { ttlMs?: number }): Promise<void>;
  delete(key: string): Promise<void>;
  /** Entries whose key begins with `prefix`, sorted by key, at most 10,000. */
  list(prefix: string): Promise<{ key: string; value: Uint8Array }[]>;

  /** The lease, or undefined while another owner holds it. Taking it again as the same owner renews it and keeps the epoch. */
  acquire(name: string, owner: string, ttlMs: number): Promise<Lease | undefined>;
  /** False: it is no longer ours. */
  renew(lease: Lease, ttlMs: number): Promise<boolean>;
  release(lease: Lease): Promise<void>;

  /** False: refused, a later epoch has written. */
  saveSnapshot(name: string, epoch: number, value: Uint8Array): Promise<boolean>;
  loadSnapshot(name: string): Promise<{ epoch: number; value: Uint8Array } | undefined>;

  /** Atomic, exact across callers, idempotent by requestId. */
  reserve(reservation: Reservation): Promise<ReserveResult>;
  /** Replaces the reservation by what was used. Idempotent by requestId; unknown or expired reservations are charged what was used, once. */
  settle(keyId: string, requestId: string, used: { tokens: number; costMicros: number }): Promise<void>;
  /** Gives an open reservation back. Idempotent; does nothing to one that is settled, and what is settled later is charged. */
  giveBack(keyId: string, requestId: string): Promise<void>;
  ledger(keyId: string, limits: LedgerLimits): Promise<LedgerState>;
  /** Micro-dollars settled so far. Unlike `ledger`, which closes what has run out, it only looks. */
  spent(keyId: string): Promise<number>;

  /** Appends each entry to its list, all in one operation. A list keeps the newest `max` entries and disappears `ttlMs` after the last append. */
  append(entries: readonly LogEntry[], options: { max: number; ttlMs: number }): Promise<void>;
  /** Oldest first. */
  readLog(key: string): Promise<Uint8Array[]>;

  connected(): boolean;
  /**
   * Calls `run` after every reconnect until cancelled, with the time at which the connection was lost. What was confirmed in
   * the last seconds before that may be gone (docs/decisions/0021-what-redis-confirms.md).
   */
  onReconnect(run: (lostAtMs: number) => void): () => void;
  close(): Promise<void>;
}
