// One connection to Redis that fails fast: an operation either goes out at once or throws `store_unavailable`; nothing
// piles up while Redis is away. Reconnects by itself, for ever.
import { Redis, ReplyError } from 'ioredis';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { TlsMaterial } from '../net/tls.ts';
import type { Clock } from '../ports/clock.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import type { Script } from './redis-scripts.ts';

const operationMs = 1_000;
/** A connection on which nothing comes back for this long although something was asked is closed and made anew. */
const silenceMs = 3_000;
const longestReconnectMs = 500;
/** What is asked before the first connection is there waits this long for it; later askers do not wait. */
const firstConnectionMs = 2_000;

/** Answers by which Redis says that it cannot serve now, as opposed to a wrong command. */
const notNow = ['LOADING', 'READONLY', 'MASTERDOWN', 'CLUSTERDOWN', 'OOM', 'MISCONF', 'TRYAGAIN', 'NOREPLICAS', 'BUSY'];

export interface RedisConnection {
  /** @throws SwitchyardError `store_unavailable` | `internal` */
  operate<T>(operation: string, run: (redis: Redis) => Promise<T>): Promise<T>;
  connected(): boolean;
  /** Calls `run` after every reconnect until cancelled, with the time at which the connection was lost. */
  onReconnect(run: (lostAtMs: number) => void): () => void;
  close(): Promise<void>;
}

export interface RedisOptions {
  /** redis:// or, over TLS, rediss:// */
  readonly url: string;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** A user in the address comes first. */
  readonly user?: { readonly name: string; readonly password: string } | undefined;
  /** For rediss:// */
  readonly tls?: TlsMaterial | undefined;
}

export function openRedisConnection({ url, clock, telemetry, user, tls }: RedisOptions): RedisConnection {
  const errors = telemetry.counter('switchyard_store_errors_total');
  const took = telemetry.histogram('switchyard_store_seconds');
  const gauge = telemetry.gauge('switchyard_store_connected');
  let isReady = false;
  let isClosed = false;
  let lostAtMs: number | undefined;
  const reconnected = new Set<(lostAtMs: number) => void>();
  let lastError = 'not connected yet';

  const named = URL.parse(url)?.password;
  const redis = new Redis(url, {
    ...(user && !named && { username: user.name, password: user.password }),
    ...(tls && url.startsWith('rediss:') && { tls: { ...tls } }),
    enableOfflineQueue: false,
    disableClientInfo: true,
    maxRetriesPerRequest: 0,
    // What is asked in one turn of the event loop leaves in one write: half the cost of an operation.
    enableAutoPipelining: true,
    // Whether a command that was on its way was done is not known. Callers ask again: every operation may be repeated.
    autoResendUnfulfilledCommands: false,
    commandTimeout: operationMs,
    socketTimeout: silenceMs,
    connectTimeout: operationMs * 2,
    keepAlive: 5_000,
    retryStrategy: (attempt) => Math.min(50 * attempt, longestReconnectMs),
  });

  const first = new Promise<void>((resolve) => {
    const cancel = clock.after(firstConnectionMs, resolve);
    redis.once('ready', () => {
      cancel();
      resolve();
    });
    redis.once('end', () => {
      cancel();
      resolve();
    });
  });
  let waitedForFirst = false;
  void first.then(() => {
    waitedForFirst = true;
  });

  redis.on('ready', () => {
    isReady = true;
    gauge.set(1);
    telemetry.log.info('store connected', {});
    const lost = lostAtMs;
    lostAtMs = undefined;
    if (lost !== undefined) for (const run of [...reconnected]) run(lost);
  });
  redis.on('close', () => {
    if (isReady && !isClosed) telemetry.log.warn('store disconnected', { error: lastError });
    if (isReady) lostAtMs = clock.now();
    isReady = false;
    gauge.set(0);
  });
  redis.on('error', (error: Error) => {
    lastError = error.message;
  });

  function asError(operation: string, thrown: unknown): SwitchyardError {
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    if (isReply(thrown) && !notNow.some((prefix) => message.startsWith(prefix))) {
      return new SwitchyardError('internal', `store operation ${operation} was refused: ${message}`, { cause: thrown });
    }
    return new SwitchyardError('store_unavailable', `store is away, ${operation} may not have been done: ${message}`, { cause: thrown });
  }

  return {
    async operate(operation, run) {
      if (!waitedForFirst) await first;
      const startMs = clock.now();
      try {
        if (!isReady) throw new Error(lastError);
        return await run(redis);
      } catch (thrown) {
        errors.add(1, { operation });
        throw asError(operation, thrown);
      } finally {
        took.observe((clock.now() - startMs) / 1000, { operation });
      }
    },
    connected: () => isReady && !isClosed,
    onReconnect(run) {
      reconnected.add(run);
      return () => reconnected.delete(run);
    },
    async close() {
      if (isClosed) return;
      isClosed = true;
      if (isReady) await redis.quit().catch(() => {});
      redis.disconnect();
    },
  };
}

/** What runs scripts. */
export type Scripted = Pick<Redis, 'evalsha' | 'eval'>;

/** Runs a script, sending its text only when Redis does not have it yet. */
export async function runScript(
  redis: Scripted,
  script: Script,
  keys: readonly string[],
  args: readonly (string | number | Buffer)[],
): Promise<unknown> {
  try {
    return await redis.evalsha(script.sha1, keys.length, ...keys, ...args);
  } catch (thrown) {
    if (!isReply(thrown) || !thrown.message.startsWith('NOSCRIPT')) throw thrown;
    return redis.eval(script.lua, keys.length, ...keys, ...args);
  }
}

/** Redis itself has answered with an error. */
function isReply(thrown: unknown): thrown is Error {
  return thrown instanceof ReplyError;
}
