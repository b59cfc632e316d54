// Carries the bus over a NATS connection. Reconnects for ever; what is published meanwhile waits in a bounded buffer of
// ours, because the client's own has no bound.
import { createInbox, type Msg, type NatsConnection, type PublishOptions } from '@nats-io/transport-node';
import type { Telemetry } from '../ports/telemetry.ts';
import { maxBufferedBytes, maxBufferedMessages, maxMessageBytes } from './limits.ts';
import { fromNatsHeaders, toNatsHeaders } from './nats-headers.ts';
import type { Listening, MessageLog, Outgoing, SendResult, Wire, WireMessage } from './wire.ts';

const closeWithinMs = 5_000;

export function createNatsWire(connection: NatsConnection, log: MessageLog, telemetry: Telemetry): Wire {
  const connectedGauge = telemetry.gauge('switchyard_bus_connected');
  const reconnected = new Set<() => void>();
  const waiting: Outgoing[] = [];
  let waitingBytes = 0;
  let isConnected = true;
  let isClosed = false;
  connectedGauge.set(1);

  function setConnected(connected: boolean): void {
    if (connected === isConnected) return;
    isConnected = connected;
    connectedGauge.set(connected ? 1 : 0);
    if (!connected) {
      telemetry.log.warn('bus disconnected', {});
      return;
    }
    telemetry.log.info('bus connected again', { server: connection.getServer(), waiting: waiting.length });
    waitingBytes = 0;
    for (const message of waiting.splice(0)) put(message);
    for (const run of [...reconnected]) run();
  }

  async function watch(): Promise<void> {
    for await (const status of connection.status()) {
      if (status.type === 'disconnect' || status.type === 'close') setConnected(false);
      else if (status.type === 'reconnect') setConnected(true);
      else if (status.type === 'error') telemetry.log.error('bus error', { error: status.error.message });
      else if (status.type === 'slowConsumer') telemetry.log.warn('bus handlers are slow', { pending: status.pending });
    }
  }
  void watch();

  function put(message: Outgoing): void {
    if (message.reply === undefined && message.headers === undefined) connection.publish(message.subject, message.data);
    else connection.publish(message.subject, message.data, publishOptions(message));
  }

  function send(message: Outgoing): SendResult {
    if (isClosed || connection.isClosed()) return 'closed';
    if (message.data.length > Math.min(maxMessageBytes, connection.info?.max_payload ?? maxMessageBytes)) return 'too_large';
    if (isConnected) {
      put(message);
      return 'sent';
    }
    if (waiting.length >= maxBufferedMessages || waitingBytes + message.data.length > maxBufferedBytes) return 'buffer_full';
    waiting.push(message);
    waitingBytes += message.data.length;
    return 'sent';
  }

  function listen(subject: string, group: string | undefined, receive: (message: WireMessage) => void): Listening {
    // A callback costs half of what an iterator does. It has no back-pressure: handlers either answer at once or have
    // queues with limits of their own.
    const subscription = connection.subscribe(subject, {
      ...(group === undefined ? {} : { queue: group }),
      callback: (error, message) => {
        if (error) telemetry.log.error('bus subscription failed', { subject, error: error.message });
        else receive(fromNats(message));
      },
    });
    return {
      async stop() {
        if (subscription.isClosed()) return;
        // Draining needs the server's answer; without a connection nothing can come any more either.
        if (isConnected && !connection.isClosed()) await subscription.drain();
        else subscription.unsubscribe();
      },
    };
  }

  async function close(): Promise<void> {
    isClosed = true;
    if (connection.isClosed()) return;
    if (isConnected) await Promise.race([connection.drain().catch(() => {}), afterMs(closeWithinMs)]);
    await connection.close();
  }

  return {
    inbox: createInbox(),
    send,
    listen,
    connected: () => isConnected && !isClosed,
    onReconnect(run) {
      reconnected.add(run);
      return () => reconnected.delete(run);
    },
    close,
    log,
  };
}

function publishOptions(message: Outgoing): Partial<PublishOptions> {
  const options: Partial<PublishOptions> = {};
  if (message.reply !== undefined) options.reply = message.reply;
  if (message.headers !== undefined) options.headers = toNatsHeaders(message.headers);
  return options;
}

function fromNats(message: Msg): WireMessage {
  return {
    subject: message.subject,
    reply: message.reply ?? '',
    headers: fromNatsHeaders(message.headers),
    data: message.data,
    noResponders: message.headers?.code === 503 && message.data.length === 0,
  };
}

function afterMs(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs).unref());
}
