// The store in production: Redis. Key names are in redis-keys.ts, what must be atomic is in redis-scripts.ts.
import type { Redis } from 'ioredis';
import type { ReserveResult, Store } from '../ports/store.ts';
import { maxListed, nextEpoch } from './limits.ts';
import { openRedisConnection, type RedisOptions, runScript } from './redis-connection.ts';
import { keyPatterns, ledgerKeys } from './redis-keys.ts';
import { createRedisLedger } from './redis-ledger.ts';
import * as scripts from './redis-scripts.ts';

const entryPrefix = keyPatterns.entry('');
const scanCount = 1_000;
const readAtOnce = 500;

export function connectRedisStore(options: RedisOptions): Store {
  const { clock } = options;
  const connection = openRedisConnection(options);
  const { operate } = connection;

  const { lease: leaseKey, snapshot: snapshotKey, log: logKey } = keyPatterns;

  const ask = createRedisLedger(clock);

  return {
    get: (key) => operate('get', async (redis) => (await redis.getBuffer(entryPrefix + key)) ?? undefined),
    set: (key, value, given) =>
      operate('set', async (redis) => {
        const bytes = asBuffer(value);
        if (given?.ttlMs === undefined) await redis.set(entryPrefix + key, bytes);
        else await redis.set(entryPrefix + key, bytes, 'PX', Math.max(1, Math.ceil(given.ttlMs)));
      }),
    delete: (key) =>
      operate('delete', async (redis) => {
        await redis.del(entryPrefix + key);
      }),
    list: (prefix) => operate('list', (redis) => list(redis, prefix)),

    acquire: (name, owner, ttlMs) =>
      operate('acquire', async (redis) => {
        const nowMs = clock.now();
        const epoch = await runScript(redis, scripts.acquireLease, [leaseKey(name)], [owner, ttlMs, nowMs, nextEpoch(0, nowMs)]);
        return epoch === null ? undefined : { name, owner, epoch: Number(epoch) };
      }),
    renew: (lease, ttlMs) =>
      operate('renew', async (redis) => {
        const nowMs = clock.now();
        return (await runScript(redis, scripts.keepLease, [leaseKey(lease.name)], [lease.owner, lease.epoch, nowMs, nowMs + ttlMs])) === 1;
      }),
    release: (lease) =>
      operate('release', async (redis) => {
        await runScript(redis, scripts.keepLease, [leaseKey(lease.name)], [lease.owner, lease.epoch, clock.now(), 0]);
      }),

    saveSnapshot: (name, epoch, value) =>
      operate('saveSnapshot', async (redis) => (await runScript(redis, scripts.saveSnapshot, [snapshotKey(name)], [epoch, asBuffer(value)])) === 1),
    loadSnapshot: (name) =>
      operate('loadSnapshot', async (redis) => {
        const [epoch, value] = await redis.hmgetBuffer(snapshotKey(name), 'epoch', 'value');
        return epoch && value ? { epoch: Number(epoch.toString()), value } : undefined;
      }),

    reserve: (reservation) =>
      operate('reserve', async (redis): Promise<ReserveResult> => {
        const { outcome, retryAfterMs, state } = await ask(redis, { operation: 'reserve', ...reservation });
        return outcome === 'ok' ? { ok: true, state } : { ok: false, exceeded: outcome, retryAfterMs, state };
      }),
    settle: (keyId, requestId, used) =>
      operate('settle', async (redis) => {
        await ask(redis, { operation: 'settle', keyId, requestId, ...used });
      }),
    giveBack: (keyId, requestId) =>
      operate('giveBack', async (redis) => {
        await ask(redis, { operation: 'giveBack', keyId, requestId });
      }),
    ledger: (keyId, limits) => operate('ledger', async (redis) => (await ask(redis, { operation: 'read', keyId, limits })).state),

    spent: (keyId) => operate('spent', async (redis) => Number((await redis.hget(ledgerKeys(keyId)[0]!, 'spent')) ?? 0)),

    append: (entries, given) =>
      operate('append', async (redis) => {
        if (entries.length === 0) return;
        const values = entries.map(({ value }) => asBuffer(value));
        const limits = [given.max, Math.max(1, Math.ceil(given.ttlMs))];
        await runScript(
          redis,
          scripts.appendLogs,
          entries.map(({ key }) => logKey(key)),
          [...limits, ...values],
        );
      }),
    readLog: (key) => operate('readLog', (redis) => redis.lrangeBuffer(logKey(key), 0, -1)),

    connected: connection.connected,
    onReconnect: connection.onReconnect,
    close: connection.close,
  };
}

/** SCAN finds every entry that was there the whole time, some twice; entries that come or go meanwhile may be missed. */
async function list(redis: Redis, prefix: string): Promise<{ key: string; value: Uint8Array }[]> {
  const pattern = `${(entryPrefix + prefix).replace(/[\\*?[\]]/g, '\\$&')}*`;
  const found = new Set<string>();
  let cursor = '0';
  do {
    const [next, keys] = await redis.scan(cursor, 'MATCH', pattern, 'COUNT', scanCount);
    for (const key of keys) found.add(key);
    cursor = next;
  } while (cursor !== '0');
  const keys = [...found].sort((a, b) => (a < b ? -1 : 1)).slice(0, maxListed);
  const entries: { key: string; value: Uint8Array }[] = [];
  for (let start = 0; start < keys.length; start += readAtOnce) {
    const part = keys.slice(start, start + readAtOnce);
    const values = await redis.mgetBuffer(part);
    for (const [index, key] of part.entries()) {
      const value = values[index];
      if (value) entries.push({ key: key.slice(entryPrefix.length), value });
    }
  }
  return entries;
}

/** The same bytes; ioredis would write another Uint8Array as text. */
function asBuffer(value: Uint8Array): Buffer {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}
