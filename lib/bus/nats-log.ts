// Recorded messages in JetStream: storing, reading, and the streams themselves. A stream is declared by whoever needs it first,
// as often as anyone likes: one that is there already, or was made by another process meanwhile, is no error.
import {
  DeliverPolicy,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  type OrderedConsumerOptions,
  RetentionPolicy,
  StorageType,
  type StreamState,
} from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { type Clock, sleep } from '../ports/clock.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { maxMessageBytes, recordedIdMs } from './limits.ts';
import type { WatchedConnection } from './nats-connection.ts';
import { createNatsConsumers } from './nats-consumers.ts';
import { fromNatsHeaders, toNatsHeaders } from './nats-headers.ts';
import { createStoring } from './nats-storing.ts';
import { type LogEntry, type MessageLog, messageIdHeader, type StreamSpec } from './wire.ts';

/** Limit of one attempt; a whole operation may make several. */
const attemptMs = 2_000;
const retryAfterMs = 100;
/** What the server answers to a stream of this name with other settings. */
const streamNameInUse = 10_058;

export interface NatsLogOptions {
  readonly connection: WatchedConnection;
  readonly client: JetStreamClient;
  readonly manager: JetStreamManager;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

export function createNatsLog(options: NatsLogOptions): MessageLog {
  const { connection, client, manager, clock } = options;
  const { nats } = connection;
  const store = createStoring({ connection, clock });
  /** Streams declared over this connection. Forgotten when the server shows that it does not have one any more. */
  const declared = new Map<string, Promise<void>>();

  function declare(spec: StreamSpec): Promise<void> {
    let done = declared.get(spec.stream);
    if (!done) {
      done = declareStream(manager, spec).catch((thrown) => {
        declared.delete(spec.stream);
        throw thrown;
      });
      declared.set(spec.stream, done);
    }
    return done;
  }

  /** Repeats `attempt` until it succeeds or `timeoutMs` has passed. Waits while disconnected; starts over after a reconnect. */
  async function persist<T>(what: string, timeoutMs: number, attempt: () => Promise<T>): Promise<T> {
    const untilMs = clock.now() + timeoutMs;
    for (;;) {
      const lost = reconnect();
      try {
        if (connection.connected()) return await Promise.race([attempt(), lost.promise]);
        await connectedAgain(untilMs - clock.now());
        if (!connection.connected()) throw new SwitchyardError('bus_unavailable', `bus is not connected, ${what} was not done`);
      } catch (thrown) {
        if (thrown instanceof SwitchyardError) throw thrown;
        if (nats.isClosed()) throw new SwitchyardError('bus_unavailable', `bus is closed, ${what} was not done`, { cause: thrown });
        if (clock.now() + retryAfterMs >= untilMs) {
          throw new SwitchyardError('timeout', `${what} was not done within ${timeoutMs} ms: ${String(thrown)}`, { cause: thrown });
        }
        await sleep(clock, retryAfterMs);
      } finally {
        lost.cancel();
      }
    }
  }

  /** Resolves at the next reconnect, or after `withinMs`. */
  function connectedAgain(withinMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        stopWaiting();
        cancel();
        resolve();
      };
      const stopWaiting = connection.onReconnect(done);
      const cancel = clock.after(Math.max(0, withinMs), done);
    });
  }

  /** Rejects at the next reconnect: what was on its way then was lost, and its time-out need not be awaited. */
  function reconnect(): { promise: Promise<never>; cancel: () => void } {
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    return { promise, cancel: connection.onReconnect(() => reject(new Error('the connection was lost'))) };
  }

  async function append(spec: StreamSpec, entry: LogEntry, { id, timeoutMs }: { id: string; timeoutMs: number }): Promise<void> {
    if (entry.data.length > maxMessageBytes)
      throw new SwitchyardError('internal', `message for ${entry.subject} is too large: ${entry.data.length} bytes`);
    const headers = toNatsHeaders({ ...entry.headers, [messageIdHeader]: id });
    const untilMs = clock.now() + timeoutMs;
    await persist(`recording ${entry.subject}`, timeoutMs, async () => {
      await declare(spec);
      try {
        await store(entry.subject, entry.data, headers, Math.max(1, Math.min(attemptMs, untilMs - clock.now())));
      } catch (thrown) {
        // Perhaps the server has lost the stream: the next attempt declares it again.
        declared.delete(spec.stream);
        throw thrown;
      }
    });
  }

  function newest(spec: StreamSpec, limit: number): Promise<LogEntry[]> {
    return read(spec, limit, ({ first_seq, last_seq }) => ({
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: Math.max(first_seq, last_seq - limit + 1),
    }));
  }

  function since(spec: StreamSpec, sinceMs: number, limit: number): Promise<LogEntry[]> {
    const opt_start_time = new Date(sinceMs).toISOString();
    return read(spec, limit, ({ last_ts }) =>
      Date.parse(last_ts) < Math.floor(sinceMs) ? undefined : { deliver_policy: DeliverPolicy.StartTime, opt_start_time },
    );
  }

  /** From where `start` says, up to `limit` or to what was the last one when the reading began. */
  async function read(
    spec: StreamSpec,
    limit: number,
    start: (state: StreamState) => Partial<OrderedConsumerOptions> | undefined,
  ): Promise<LogEntry[]> {
    if (limit <= 0) return [];
    return persist(`reading ${spec.stream}`, attemptMs, async () => {
      await declare(spec);
      const { state } = await manager.streams.info(spec.stream);
      const from = state.messages === 0 ? undefined : start(state);
      if (!from) return [];
      const consumer = await client.consumers.get(spec.stream, from);
      const entries: LogEntry[] = [];
      const batch = await consumer.fetch({ max_messages: Math.min(limit, state.messages), expires: attemptMs });
      for await (const message of batch) {
        entries.push({ subject: message.subject, headers: fromNatsHeaders(message.headers), data: message.data });
        if (message.seq >= state.last_seq || entries.length === limit) return entries;
      }
      throw new Error(`${spec.stream} was not read to its end`);
    });
  }

  const consume = createNatsConsumers({ ...options, persist, declare, forget: (spec) => declared.delete(spec.stream) });

  return { append, newest, since, consume };
}

async function declareStream(manager: JetStreamManager, spec: StreamSpec): Promise<void> {
  const settings = {
    subjects: [spec.pattern],
    max_age: nanos(spec.maxAgeMs),
    max_msgs: spec.maxMessages,
    duplicate_window: nanos(recordedIdMs),
  };
  try {
    await manager.streams.add({ name: spec.stream, retention: RetentionPolicy.Limits, storage: StorageType.File, ...settings });
  } catch (thrown) {
    if (!(thrown instanceof JetStreamApiError && thrown.code === streamNameInUse)) throw thrown;
    await manager.streams.update(spec.stream, settings);
  }
}
