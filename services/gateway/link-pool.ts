// Token links: one connection per agent address, made when it is first needed and again after it closed. Finds the request
// of every event by its stream number; what counts is decided by the request actor.

import { type Clock, every } from '../../lib/ports/clock.ts';
import type { Connection, Net } from '../../lib/ports/net.ts';
import type { Telemetry } from '../../lib/ports/telemetry.ts';
import type { CancelStream, OpenStream, StreamEvent } from '../../proto/gen/messages.ts';
import { LinkFrame } from '../../proto/gen/messages.ts';

export interface LinkPoolOptions {
  readonly net: Net;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly gatewayId: string;
  readonly connectMs: number;
  readonly maxFrameBytes: number;
  readonly linkBufferBytes: number;
  readonly linkIdleMs: number;
  readonly spoken: (requestId: string, event: StreamEvent) => void;
  readonly lost: (requestId: string, epoch: number, why: string) => void;
}

export interface LinkPool {
  /** A request has one stream at a time: cancel the one before first. A failure is told by `lost`, never within this call. */
  open(address: string, stream: Omit<OpenStream, 'stream'>): void;
  /** Nothing that the stream says from now on is passed on. Does nothing when the request has no such stream. */
  cancel(requestId: string, epoch: number, reason: CancelStream['reason']): void;
  /** The stream has ended by itself. */
  forget(requestId: string): void;
  readonly size: number;
  close(): void;
}

interface Stream {
  readonly requestId: string;
  readonly epoch: number;
  readonly number: number;
  readonly link: Link;
}

interface Link {
  readonly address: string;
  readonly streams: Map<number, Stream>;
  /** Undefined while it is being made; frames wait in `waiting` then. */
  connection: Connection | undefined;
  readonly waiting: Uint8Array[];
  waitingBytes: number;
  lastNumber: number;
  idleSinceMs: number;
  closed: boolean;
}

const protocol = 1;
const largestNumber = 0xffff_ffff;

export function createLinkPool(options: LinkPoolOptions): LinkPool {
  const { net, clock, telemetry, gatewayId, linkBufferBytes, linkIdleMs } = options;
  const links = new Map<string, Link>();
  const streams = new Map<string, Stream>();
  const dropped = telemetry.counter('switchyard_tokens_dropped_total');
  const stopIdleCheck = every(clock, linkIdleMs / 2, closeIdle);

  function linkTo(address: string): Link {
    const existing = links.get(address);
    if (existing) return existing;
    const link: Link = {
      address,
      streams: new Map(),
      connection: undefined,
      waiting: [],
      waitingBytes: 0,
      lastNumber: 0,
      idleSinceMs: clock.now(),
      closed: false,
    };
    links.set(address, link);
    void connect(link);
    return link;
  }

  async function connect(link: Link): Promise<void> {
    try {
      const connection = await net.connect(link.address, { timeoutMs: options.connectMs, maxFrameBytes: options.maxFrameBytes });
      if (link.closed) {
        connection.close();
        return;
      }
      link.connection = connection;
      connection.onClose(() => drop(link, 'link_closed'));
      connection.onFrame((frame) => take(link, frame));
      connection.send(LinkFrame.encode({ hello: { id: gatewayId, protocol } }));
      for (const frame of link.waiting.splice(0)) connection.send(frame);
      link.waitingBytes = 0;
    } catch (thrown) {
      telemetry.log.warn('agent cannot be reached', { address: link.address, error: String(thrown) });
      drop(link, 'unreachable');
    }
  }

  function take(link: Link, bytes: Uint8Array): void {
    let frame: LinkFrame;
    try {
      frame = LinkFrame.decode(bytes);
    } catch (thrown) {
      telemetry.log.error('a token link carried something else', { address: link.address, error: String(thrown) });
      drop(link, 'bad_frame');
      return;
    }
    if (frame.step) {
      for (const event of frame.step.events) {
        const stream = link.streams.get(event.stream);
        // Cancelled, and on its way before the agent knew.
        if (!stream) dropped.add(1, { reason: 'unknown' });
        else options.spoken(stream.requestId, event);
      }
    } else if (frame.hello && frame.hello.protocol !== protocol) {
      telemetry.log.error('an agent speaks another protocol', { address: link.address, protocol: frame.hello.protocol });
      drop(link, 'bad_protocol');
    }
  }

  /** The link is gone and with it every stream on it. */
  function drop(link: Link, why: string): void {
    if (link.closed) return;
    link.closed = true;
    if (links.get(link.address) === link) links.delete(link.address);
    const gone = [...link.streams.values()];
    link.streams.clear();
    link.waiting.length = 0;
    for (const stream of gone) if (streams.get(stream.requestId) === stream) streams.delete(stream.requestId);
    link.connection?.close();
    for (const stream of gone) options.lost(stream.requestId, stream.epoch, why);
  }

  function send(link: Link, frame: Uint8Array): void {
    if (link.connection) {
      link.connection.send(frame);
    } else {
      link.waiting.push(frame);
      link.waitingBytes += frame.length;
    }
  }

  function forget(stream: Stream): void {
    streams.delete(stream.requestId);
    stream.link.streams.delete(stream.number);
    if (stream.link.streams.size === 0) stream.link.idleSinceMs = clock.now();
  }

  function closeIdle(): void {
    const now = clock.now();
    for (const link of links.values()) if (link.streams.size === 0 && now - link.idleSinceMs >= linkIdleMs) drop(link, 'idle');
  }

  return {
    open(address, stream) {
      const link = linkTo(address);
      const { requestId, epoch } = stream;
      const frameBytes = stream.body.length;
      if ((link.connection?.buffered() ?? link.waitingBytes) + frameBytes > linkBufferBytes) {
        clock.after(0, () => options.lost(requestId, epoch, 'link_full'));
        return;
      }
      do link.lastNumber = (link.lastNumber % largestNumber) + 1;
      while (link.streams.has(link.lastNumber));
      const opened: Stream = { requestId, epoch, number: link.lastNumber, link };
      link.streams.set(opened.number, opened);
      streams.set(requestId, opened);
      send(link, LinkFrame.encode({ open: { ...stream, stream: opened.number } }));
    },

    cancel(requestId, epoch, reason) {
      const stream = streams.get(requestId);
      if (stream?.epoch !== epoch) return;
      forget(stream);
      send(stream.link, LinkFrame.encode({ cancel: { stream: stream.number, requestId, epoch, reason } }));
    },

    forget(requestId) {
      const stream = streams.get(requestId);
      if (stream) forget(stream);
    },

    get size() {
      return links.size;
    },

    close() {
      stopIdleCheck();
      for (const link of [...links.values()]) drop(link, 'closing');
    },
  };
}
