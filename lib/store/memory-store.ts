// The store's twin: everything in this process. One instance is shared by all "processes" of a test or an embedded fleet.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { Clock } from '../ports/clock.ts';
import type { Store } from '../ports/store.ts';
import { emptyLedger, giveBack, type Ledger, ledgerState, reserve, settle } from './ledger.ts';
import { maxListed, nextEpoch } from './limits.ts';

export interface MemoryStore extends Store {
  /** For tests: while out, every operation throws `store_unavailable` and nothing is lost. */
  setOutage(out: boolean): void;
}

interface Entry<T> {
  readonly value: T;
  readonly expiresAtMs: number;
}

export function createMemoryStore(clock: Clock): MemoryStore {
  const entries = new Map<string, Entry<Uint8Array>>();
  const logs = new Map<string, Entry<Uint8Array[]>>();
  const leases = new Map<string, { owner: string; epoch: number; expiresAtMs: number }>();
  const snapshots = new Map<string, { epoch: number; value: Uint8Array }>();
  const ledgers = new Map<string, Ledger>();
  const reconnected = new Set<(lostAtMs: number) => void>();
  let lostAtMs = 0;
  let out = false;
  let closed = false;

  /** Runs later, like a call over a connection would, and one at a time. */
  async function atomically<T>(operation: string, run: () => T): Promise<T> {
    await undefined;
    if (out || closed) throw new SwitchyardError('store_unavailable', `store is away, ${operation} was not done`);
    return run();
  }

  function live<T>(map: Map<string, Entry<T>>, key: string): T | undefined {
    const entry = map.get(key);
    if (!entry) return undefined;
    if (entry.expiresAtMs > clock.now()) return entry.value;
    map.delete(key);
    return undefined;
  }

  function ledgerOf(keyId: string): Ledger {
    let ledger = ledgers.get(keyId);
    if (!ledger) {
      ledger = emptyLedger();
      ledgers.set(keyId, ledger);
    }
    return ledger;
  }

  const held = (name: string, owner: string, epoch: number) => {
    const lease = leases.get(name);
    return lease && lease.owner === owner && lease.epoch === epoch && lease.expiresAtMs > clock.now() ? lease : undefined;
  };

  return {
    get: (key) => atomically('get', () => live(entries, key)?.slice()),
    set: (key, value, options) =>
      atomically('set', () => {
        entries.set(key, {
          value: value.slice(),
          expiresAtMs: options?.ttlMs === undefined ? Number.POSITIVE_INFINITY : clock.now() + options.ttlMs,
        });
      }),
    delete: (key) =>
      atomically('delete', () => {
        entries.delete(key);
      }),
    list: (prefix) =>
      atomically('list', () =>
        [...entries.keys()]
          .filter((key) => key.startsWith(prefix))
          .sort(byCodeUnits)
          .flatMap((key) => {
            const value = live(entries, key);
            return value ? [{ key, value: value.slice() }] : [];
          })
          .slice(0, maxListed),
      ),

    acquire: (name, owner, ttlMs) =>
      atomically('acquire', () => {
        const nowMs = clock.now();
        const lease = leases.get(name);
        if (lease && lease.expiresAtMs > nowMs) {
          if (lease.owner !== owner) return undefined;
          lease.expiresAtMs = nowMs + ttlMs;
          return { name, owner, epoch: lease.epoch };
        }
        const epoch = nextEpoch(lease?.epoch ?? 0, nowMs);
        leases.set(name, { owner, epoch, expiresAtMs: nowMs + ttlMs });
        return { name, owner, epoch };
      }),
    renew: (lease, ttlMs) =>
      atomically('renew', () => {
        const mine = held(lease.name, lease.owner, lease.epoch);
        if (mine) mine.expiresAtMs = clock.now() + ttlMs;
        return mine !== undefined;
      }),
    release: (lease) =>
      atomically('release', () => {
        // The epoch stays behind, so that the next owner's is higher.
        const mine = held(lease.name, lease.owner, lease.epoch);
        if (mine) mine.expiresAtMs = 0;
      }),

    saveSnapshot: (name, epoch, value) =>
      atomically('saveSnapshot', () => {
        if ((snapshots.get(name)?.epoch ?? 0) > epoch) return false;
        snapshots.set(name, { epoch, value: value.slice() });
        return true;
      }),
    loadSnapshot: (name) =>
      atomically('loadSnapshot', () => {
        const snapshot = snapshots.get(name);
        return snapshot && { epoch: snapshot.epoch, value: snapshot.value.slice() };
      }),

    reserve: (reservation) => atomically('reserve', () => reserve(ledgerOf(reservation.keyId), reservation, clock.now())),
    settle: (keyId, requestId, used) => atomically('settle', () => settle(ledgerOf(keyId), requestId, used, clock.now())),
    giveBack: (keyId, requestId) => atomically('giveBack', () => giveBack(ledgerOf(keyId), requestId, clock.now())),
    ledger: (keyId, limits) => atomically('ledger', () => ledgerState(ledgerOf(keyId), limits, clock.now())),
    spent: (keyId) => atomically('spent', () => ledgers.get(keyId)?.spentMicros ?? 0),

    append: (added, options) =>
      atomically('append', () => {
        for (const { key, value } of added) {
          const kept = [...(live(logs, key) ?? []), value.slice()].slice(-options.max);
          logs.set(key, { value: kept, expiresAtMs: clock.now() + options.ttlMs });
        }
      }),
    readLog: (key) => atomically('readLog', () => (live(logs, key) ?? []).map((value) => value.slice())),

    connected: () => !out && !closed,
    onReconnect(run) {
      reconnected.add(run);
      return () => reconnected.delete(run);
    },
    async close() {
      closed = true;
    },
    setOutage(isOut) {
      if (isOut && !out) lostAtMs = clock.now();
      const isBack = out && !isOut;
      out = isOut;
      if (isBack) for (const run of [...reconnected]) run(lostAtMs);
    },
  };
}

function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
