// Recorded messages in JetStream. Streams and consumers are declared by whoever needs them first, as often as anyone likes:
// a declaration that is there already, or was made by another process meanwhile, is no error.
import {
  AckPolicy,
  DeliverPolicy,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  type JsMsg,
  RetentionPolicy,
  StorageType,
} from '@nats-io/jetstream';
import { type NatsConnection, nanos } from '@nats-io/transport-node';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { type Clock, every, sleep } from '../ports/clock.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { acknowledgeWithinMs, maxConsuming, maxDeliveries, maxMessageBytes, recordedIdMs, redeliveryDelayMs } from './limits.ts';
import { fromNatsHeaders, toNatsHeaders } from './nats-wire.ts';
import { type Consumption, type Listening, type LogEntry, type MessageLog, messageIdHeader, type StreamSpec } from './wire.ts';

/** Limit of one attempt; a whole operation may make several. */
const attemptMs = 2_000;
const retryAfterMs = 100;
/** Between attempts to set up a consumer whose stream or server went away. */
const setUpAgainAfterMs = 1_000;
/** Unacknowledged messages of one durable, over all its consumers. */
const maxUnacknowledged = maxConsuming * 4;

/** What the server answers to a stream of this name with other settings. */
const streamNameInUse = 10_058;

export interface NatsLogOptions {
  readonly connection: NatsConnection;
  readonly client: JetStreamClient;
  readonly manager: JetStreamManager;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

export function createNatsLog(options: NatsLogOptions): MessageLog {
  const { connection, client, manager, clock, telemetry } = options;
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

  /** Repeats `attempt` until it succeeds or `timeoutMs` has passed. */
  async function persist<T>(what: string, timeoutMs: number, attempt: () => Promise<T>): Promise<T> {
    const untilMs = clock.now() + timeoutMs;
    for (;;) {
      try {
        return await attempt();
      } catch (thrown) {
        if (thrown instanceof SwitchyardError) throw thrown;
        if (connection.isClosed()) throw new SwitchyardError('bus_unavailable', `bus is closed, ${what} was not done`, { cause: thrown });
        if (clock.now() + retryAfterMs >= untilMs) {
          throw new SwitchyardError('timeout', `${what} was not done within ${timeoutMs} ms: ${String(thrown)}`, { cause: thrown });
        }
        await sleep(clock, retryAfterMs);
      }
    }
  }

  async function append(spec: StreamSpec, entry: LogEntry, { id, timeoutMs }: { id: string; timeoutMs: number }): Promise<void> {
    if (entry.data.length > maxMessageBytes)
      throw new SwitchyardError('internal', `message for ${entry.subject} is too large: ${entry.data.length} bytes`);
    const headers = toNatsHeaders({ ...entry.headers, [messageIdHeader]: id });
    const untilMs = clock.now() + timeoutMs;
    await persist(`recording ${entry.subject}`, timeoutMs, async () => {
      await declare(spec);
      try {
        // The answer comes from the stream, after it has stored the message or found its id among the stored ones.
        const stored = await connection.request(entry.subject, entry.data, {
          headers,
          timeout: Math.max(1, Math.min(attemptMs, untilMs - clock.now())),
        });
        const answer = stored.json<{ error?: { description: string } }>();
        if (answer.error) throw new Error(answer.error.description);
      } catch (thrown) {
        // Perhaps the server has lost the stream: the next attempt declares it again.
        declared.delete(spec.stream);
        throw thrown;
      }
    });
  }

  async function newest(spec: StreamSpec, limit: number): Promise<LogEntry[]> {
    if (limit <= 0) return [];
    return persist(`reading ${spec.stream}`, attemptMs, async () => {
      await declare(spec);
      const { state } = await manager.streams.info(spec.stream);
      if (state.messages === 0) return [];
      const opt_start_seq = Math.max(state.first_seq, state.last_seq - limit + 1);
      const consumer = await client.consumers.get(spec.stream, { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq });
      const entries: LogEntry[] = [];
      const batch = await consumer.fetch({ max_messages: state.last_seq - opt_start_seq + 1, expires: attemptMs });
      for await (const message of batch) {
        entries.push(entryOf(message));
        if (message.seq >= state.last_seq) break;
      }
      return entries;
    });
  }

  async function consume(spec: StreamSpec, durable: string, consumption: Consumption): Promise<Listening> {
    const running = new Set<Promise<void>>();
    const stopping = new AbortController();
    let current = await persist(`consuming ${spec.stream} as ${durable}`, attemptMs * 5, () => start());
    const supervised = supervise();

    async function start(): Promise<{ close(): Promise<unknown>; closed(): Promise<unknown> }> {
      await declare(spec);
      await declareConsumer(manager, spec, durable);
      const consumer = await client.consumers.get(spec.stream, durable);
      return consumer.consume({
        max_messages: maxConsuming,
        abort_on_missing_resource: true,
        callback: (message) => {
          const done = handle(message, consumption, clock).catch((thrown) => {
            telemetry.log.error('recorded message not acknowledged', { stream: spec.stream, durable, error: String(thrown) });
          });
          running.add(done);
          void done.finally(() => running.delete(done));
        },
      });
    }

    /** The client gives up when the stream or the consumer is gone, for example after the server lost its data. */
    async function supervise(): Promise<void> {
      for (;;) {
        const why = await current.closed();
        if (stopping.signal.aborted || connection.isClosed()) return;
        telemetry.log.warn('consumer stopped, starting it again', { stream: spec.stream, durable, error: String(why) });
        declared.delete(spec.stream);
        for (;;) {
          try {
            current = await start();
            break;
          } catch (thrown) {
            telemetry.log.warn('consumer not started', { stream: spec.stream, durable, error: String(thrown) });
            await sleep(clock, setUpAgainAfterMs, stopping.signal);
            if (stopping.signal.aborted || connection.isClosed()) return;
          }
        }
      }
    }

    return {
      async stop() {
        stopping.abort();
        await current.close();
        await supervised;
        // So that the last acknowledgements are written before the connection closes.
        await Promise.all(running);
      },
    };
  }

  return { append, newest, consume };
}

async function handle(message: JsMsg, consumption: Consumption, clock: Clock): Promise<void> {
  // Tells the server that the handler is alive, so that a slow one is not taken for a dead one.
  const stopTelling = every(clock, acknowledgeWithinMs / 3, () => message.working());
  const attempt = message.info.deliveryCount;
  const entry = entryOf(message);
  const verdict = await consumption.deliver(entry, attempt).finally(stopTelling);
  if (verdict === 'done') message.ack();
  else if (verdict === 'never') message.term('cannot be handled');
  else if (attempt < maxDeliveries) message.nak(redeliveryDelayMs(attempt));
  else {
    message.term('given up');
    consumption.givenUp(entry);
  }
}

function entryOf(message: JsMsg): LogEntry {
  return { subject: message.subject, headers: fromNatsHeaders(message.headers), data: message.data };
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

async function declareConsumer(manager: JetStreamManager, spec: StreamSpec, durable: string): Promise<void> {
  const settings = { ack_wait: nanos(acknowledgeWithinMs), max_deliver: maxDeliveries, max_ack_pending: maxUnacknowledged };
  try {
    await manager.consumers.add(spec.stream, {
      durable_name: durable,
      ack_policy: AckPolicy.Explicit,
      deliver_policy: DeliverPolicy.All,
      filter_subject: spec.pattern,
      ...settings,
    });
  } catch (thrown) {
    // There with other settings, by an earlier version: takes these. Anything else fails here too.
    if (!(thrown instanceof JetStreamApiError)) throw thrown;
    await manager.consumers.update(spec.stream, durable, settings);
  }
}
