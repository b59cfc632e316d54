// Durable consumers in JetStream: messages come to one member of the group, each is acknowledged by hand, and everything is
// declared again when the server has lost it.
import { AckPolicy, DeliverPolicy, JetStreamApiError, type JetStreamManager } from '@nats-io/jetstream';
import { type Msg, type NatsConnection, nanos } from '@nats-io/transport-node';
import { type Clock, every, sleep } from '../ports/clock.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { acknowledgeWithinMs, maxConsuming, maxDeliveries, redeliveryDelayMs } from './limits.ts';
import type { WatchedConnection } from './nats-connection.ts';
import { fromNatsHeaders } from './nats-headers.ts';
import type { Consumption, Listening, MessageLog, StreamSpec } from './wire.ts';

/** Time to set up a consumer before `consume` throws. */
const setUpMs = 10_000;
/** Between looks at whether the server still has what was declared. */
const lookAgainAfterMs = 10_000;
const setUpAgainAfterMs = 1_000;
/** Unacknowledged messages of one durable, over all its consumers. */
const maxUnacknowledged = maxConsuming * 4;

/** Where the server pushes what a durable consumer shall get. */
export function deliverSubject(stream: string, durable: string): string {
  return `_DELIVER.${stream}.${durable}`;
}

interface Keeper {
  /** Looks now. */
  look(): void;
  stop(): void;
}

export interface NatsConsumersOptions {
  readonly connection: WatchedConnection;
  readonly manager: JetStreamManager;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Repeats until it succeeds or the time is up. */
  readonly persist: <T>(what: string, timeoutMs: number, attempt: () => Promise<T>) => Promise<T>;
  readonly declare: (spec: StreamSpec) => Promise<void>;
  /** The next `declare` asks the server. */
  readonly forget: (spec: StreamSpec) => void;
}

export function createNatsConsumers(options: NatsConsumersOptions): MessageLog['consume'] {
  const { connection, manager, clock, telemetry, persist, declare, forget } = options;
  const { nats } = connection;
  const keepers = new Set<Keeper>();

  /**
   * The server pushes to one member of the group that listens. Pulling would leave messages with a consumer that has just
   * stopped: what the server sends between the last pull and the end of its subscription waits for `acknowledgeWithinMs`.
   */
  async function consume(spec: StreamSpec, durable: string, consumption: Consumption): Promise<Listening> {
    const running = new Set<Promise<void>>();
    const subject = deliverSubject(spec.stream, durable);
    const declareBoth = async () => {
      await declare(spec);
      await declareConsumer(manager, spec, durable, subject);
    };
    await persist(`consuming ${spec.stream} as ${durable}`, setUpMs, declareBoth);
    const subscription = nats.subscribe(subject, {
      queue: durable,
      callback: (error, message) => {
        if (error) telemetry.log.error('consumer failed', { stream: spec.stream, durable, error: error.message });
        else track(handle(nats, message, consumption, clock));
      },
    });
    const keeper = keepDeclared({ spec, durable, declareBoth });
    keepers.add(keeper);

    function track(handling: Promise<void>): void {
      const done = handling.catch((thrown) => {
        telemetry.log.error('recorded message not acknowledged', { stream: spec.stream, durable, error: String(thrown) });
      });
      running.add(done);
      void done.finally(() => running.delete(done));
    }

    return {
      async stop() {
        keepers.delete(keeper);
        keeper.stop();
        if (connection.connected()) await subscription.drain();
        else subscription.unsubscribe();
        // So that the last acknowledgements are written before the connection closes.
        await Promise.all(running);
      },
    };
  }

  /** The server may have lost its data: declares everything again from time to time, and after every reconnect. */
  function keepDeclared({ spec, durable, declareBoth }: { spec: StreamSpec; durable: string; declareBoth: () => Promise<void> }): Keeper {
    let stopped = false;
    let interrupt = new AbortController();
    async function keep(): Promise<void> {
      let waitMs = lookAgainAfterMs;
      for (;;) {
        interrupt = new AbortController();
        await sleep(clock, waitMs, interrupt.signal);
        if (stopped || nats.isClosed()) return;
        waitMs = lookAgainAfterMs;
        if (!connection.connected()) continue;
        forget(spec);
        try {
          await declareBoth();
        } catch (thrown) {
          if (stopped || nats.isClosed()) return;
          telemetry.log.warn('consumer not declared, trying again', { stream: spec.stream, durable, error: String(thrown) });
          waitMs = setUpAgainAfterMs;
        }
      }
    }
    void keep();
    return {
      look: () => interrupt.abort(),
      stop() {
        stopped = true;
        interrupt.abort();
      },
    };
  }

  connection.onReconnect(() => {
    for (const keeper of keepers) keeper.look();
  });

  return consume;
}

async function handle(nats: NatsConnection, message: Msg, consumption: Consumption, clock: Clock): Promise<void> {
  const acknowledge = (what: string) => nats.publish(message.reply ?? '', what);
  // Tells the server that the handler is alive, so that a slow one is not taken for a dead one.
  const stopTelling = every(clock, acknowledgeWithinMs / 3, () => acknowledge('+WPI'));
  const attempt = deliveriesOf(message.reply ?? '');
  const entry = { subject: message.subject, headers: fromNatsHeaders(message.headers), data: message.data };
  const verdict = await consumption.deliver(entry, attempt).finally(stopTelling);
  if (verdict === 'done') acknowledge('+ACK');
  else if (verdict === 'never') acknowledge('+TERM cannot be handled');
  else if (attempt < maxDeliveries) acknowledge(`-NAK {"delay": ${nanos(redeliveryDelayMs(attempt))}}`);
  else {
    acknowledge('+TERM given up');
    consumption.givenUp(entry);
  }
}

/** How often a message has been delivered, from the subject of its acknowledgement: $JS.ACK.[domain.account.]stream.consumer.deliveries.… */
function deliveriesOf(reply: string): number {
  const parts = reply.split('.');
  return Number(parts[parts.length > 9 ? 6 : 4] ?? 1);
}

async function declareConsumer(manager: JetStreamManager, spec: StreamSpec, durable: string, subject: string): Promise<void> {
  const settings = { ack_wait: nanos(acknowledgeWithinMs), max_deliver: maxDeliveries, max_ack_pending: maxUnacknowledged };
  try {
    await manager.consumers.add(spec.stream, {
      durable_name: durable,
      deliver_subject: subject,
      deliver_group: durable,
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
