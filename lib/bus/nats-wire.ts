// Carries the bus over a NATS connection. What is published in one turn of the event loop leaves in one write, because the
// write costs more than the message. Reconnects for ever; what is published meanwhile waits in the same buffer, which is
// bounded: the client's own is not.
import { createInbox, type Msg, type PublishOptions } from '@nats-io/transport-node';
import type { Telemetry } from '../ports/telemetry.ts';
import { maxBufferedBytes, maxBufferedMessages, maxMessageBytes } from './limits.ts';
import type { WatchedConnection } from './nats-connection.ts';
import { fromNatsHeaders, toNatsHeaders } from './nats-headers.ts';
import type { Listening, MessageLog, Outgoing, SendResult, Wire, WireMessage } from './wire.ts';

const closeWithinMs = 5_000;

export function createNatsWire(connection: WatchedConnection, log: MessageLog, telemetry: Telemetry): Wire {
  const { nats } = connection;
  let waiting: Outgoing[] = [];
  let waitingBytes = 0;
  let isClosed = false;

  connection.onReconnect(flush);

  function flush(): void {
    if (waiting.length === 0 || !connection.connected()) return;
    const messages = waiting;
    waiting = [];
    waitingBytes = 0;
    for (const message of messages) put(message);
  }

  const isFull = (more: Outgoing) => waiting.length >= maxBufferedMessages || waitingBytes + more.data.length > maxBufferedBytes;

  function put(message: Outgoing): void {
    if (message.reply === undefined && message.headers === undefined) nats.publish(message.subject, message.data);
    else nats.publish(message.subject, message.data, publishOptions(message));
  }

  function send(message: Outgoing): SendResult {
    if (isClosed || nats.isClosed()) return 'closed';
    if (message.data.length > Math.min(maxMessageBytes, nats.info?.max_payload ?? maxMessageBytes)) return 'too_large';
    if (isFull(message)) flush();
    if (isFull(message)) return 'buffer_full';
    waitingBytes += message.data.length;
    if (waiting.push(message) === 1) connection.atTurnEnd(flush);
    return 'sent';
  }

  function listen(subject: string, group: string | undefined, receive: (message: WireMessage) => void): Listening {
    // A callback costs half of what an iterator does. It has no back-pressure: handlers either answer at once or have
    // queues with limits of their own.
    const subscription = nats.subscribe(subject, {
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
        if (connection.connected()) await subscription.drain();
        else subscription.unsubscribe();
      },
    };
  }

  async function close(): Promise<void> {
    isClosed = true;
    if (nats.isClosed()) return;
    flush();
    if (connection.connected()) await Promise.race([nats.drain().catch(() => {}), afterMs(closeWithinMs)]);
    await nats.close();
  }

  return {
    inbox: createInbox(connection.inboxPrefix),
    send,
    listen,
    connected: () => connection.connected() && !isClosed,
    onReconnect: connection.onReconnect,
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
