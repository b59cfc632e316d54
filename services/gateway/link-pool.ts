// Token links: one connection per agent address, made when it is first needed and again after it closed. To the agents of
// live instances one is kept, so that it is known at once when an agent is gone. Finds the request of every event by its
// stream number; what counts is decided by the request actor.

import { ChurnMap } from '../../core/collections/churn-map.ts';
import { type Cancel, type Clock, every } from '../../lib/ports/clock.ts';
import type { Connection, Net } from '../../lib/ports/net.ts';
import type { Telemetry } from '../../lib/ports/telemetry.ts';
import type { CancelStream, OpenStream, StreamEvent } from '../../proto/gen/messages.ts';
import { LinkFrame } from '../../proto/gen/messages.ts';
import { type OutgoingFrame, openFrame } from './open-frame.ts';

export interface LinkPoolOptions {
  readonly net: Net;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly gatewayId: string;
  readonly connectMs: number;
  readonly maxFrameBytes: number;
  readonly linkBufferBytes: number;
  readonly linkIdleMs: number;
  readonly maxKeptLinks: number;
  readonly spoken: (requestId: string, event: StreamEvent) => void;
  readonly lost: (requestId: string, epoch: number, why: string) => void;
  /** Of addresses that are kept: whether there is a connection. Not told before the first try has ended. */
  readonly reached: (address: string, reached: boolean) => void;
}

export interface LinkPool {
  /** A request has one stream at a time: cancel the one before first. A failure is told by `lost`, never within this call. */
  open(address: string, stream: Omit<OpenStream, 'stream'>): void;
  /** Nothing that the stream says from now on is passed on. Does nothing when the request has no such stream. */
  cancel(requestId: string, epoch: number, reason: CancelStream['reason']): void;
  /** The stream has ended by itself. False: not known here, or some of what was sent on its link has not left yet. */
  forget(requestId: string): boolean;
  /**
   * Keeps a link to each of these addresses from now on, and makes it again when it breaks. Of more than `maxKeptLinks`
   * those beyond have one while they are used, and nothing is told of them. With each address come the instances that are
   * said to be there: one that lies about it must not stand in the way of the others, so each try asks for the next one.
   */
  keep(addresses: ReadonlyMap<string, readonly string[]>): void;
  readonly size: number;
  close(): void;
}

interface Kept {
  instanceIds: readonly string[];
  /** Tries in a row that have failed. */
  failures: number;
  cancelAgain: Cancel;
}

interface Stream {
  readonly requestId: string;
  readonly epoch: number;
  readonly number: number;
  readonly link: Link;
}

interface Link {
  readonly address: string;
  /** The one that it was made for. Others at the same address are of the same agent. */
  readonly instanceId: string;
  readonly streams: ChurnMap<number, Stream>;
  /** Undefined while it is being made; frames wait in `waiting` then. */
  connection: Connection | undefined;
  readonly waiting: OutgoingFrame[];
  waitingBytes: number;
  lastNumber: number;
  idleSinceMs: number;
  closed: boolean;
}

const protocol = 1;
/** Pauses before a kept link is tried again double from the first to the longest. */
const firstAgainMs = 100;
const longestAgainMs = 2_000;
const largestNumber = 0xffff_ffff;

export function createLinkPool(options: LinkPoolOptions): LinkPool {
  const { net, clock, telemetry, gatewayId, linkBufferBytes, linkIdleMs } = options;
  const links = new Map<string, Link>();
  const streams = new ChurnMap<string, Stream>();
  const kept = new Map<string, Kept>();
  const dropped = telemetry.counter('switchyard_tokens_dropped_total');
  const stopIdleCheck = every(clock, linkIdleMs / 2, closeIdle);

  function linkTo(address: string, instanceId: string): Link {
    const existing = links.get(address);
    if (existing) return existing;
    const link: Link = {
      address,
      instanceId,
      streams: new ChurnMap(),
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
      const { address, instanceId } = link;
      const connection = await net.connect(address, { timeoutMs: options.connectMs, maxFrameBytes: options.maxFrameBytes, instanceId });
      if (link.closed) {
        connection.close();
        return;
      }
      link.connection = connection;
      connection.onClose(() => drop(link, 'link_closed'));
      connection.onFrame((frame) => take(link, frame));
      connection.send(LinkFrame.encode({ hello: { id: gatewayId, protocol } }));
      for (const { head, tail } of link.waiting.splice(0)) connection.send(head, tail);
      link.waitingBytes = 0;
    } catch (thrown) {
      const again = (kept.get(link.address)?.failures ?? 0) > 0;
      if (!again) telemetry.log.warn('agent cannot be reached', { address: link.address, error: String(thrown) });
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
    } else if (frame.hello) {
      const keeping = kept.get(link.address);
      if (!keeping) return;
      keeping.failures = 0;
      options.reached(link.address, true);
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
    // First, so that requests which are lost now keep away from it.
    again(link.address);
    for (const stream of gone) options.lost(stream.requestId, stream.epoch, why);
  }

  function nextOf({ instanceIds, failures }: Kept): string {
    return instanceIds[failures % instanceIds.length] ?? '';
  }

  /** A kept link is gone. */
  function again(address: string): void {
    const keeping = kept.get(address);
    if (!keeping) return;
    keeping.cancelAgain();
    keeping.cancelAgain = clock.after(
      Math.min(longestAgainMs, firstAgainMs * 2 ** Math.min(keeping.failures, 10)),
      () => void linkTo(address, nextOf(keeping)),
    );
    keeping.failures += 1;
    options.reached(address, false);
  }

  function send(link: Link, frame: OutgoingFrame): void {
    if (link.connection) {
      link.connection.send(frame.head, frame.tail);
    } else {
      link.waiting.push(frame);
      link.waitingBytes += frame.head.length + (frame.tail?.length ?? 0);
    }
  }

  function forget(stream: Stream): void {
    streams.delete(stream.requestId);
    stream.link.streams.delete(stream.number);
    if (stream.link.streams.size === 0) stream.link.idleSinceMs = clock.now();
  }

  function closeIdle(): void {
    const now = clock.now();
    for (const link of links.values())
      if (link.streams.size === 0 && !kept.has(link.address) && now - link.idleSinceMs >= linkIdleMs) drop(link, 'idle');
  }

  return {
    open(address, stream) {
      const link = linkTo(address, stream.instanceId);
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
      send(link, openFrame({ ...stream, stream: opened.number }));
    },

    cancel(requestId, epoch, reason) {
      const stream = streams.get(requestId);
      if (stream?.epoch !== epoch) return;
      forget(stream);
      send(stream.link, { head: LinkFrame.encode({ cancel: { stream: stream.number, requestId, epoch, reason } }), tail: undefined });
    },

    forget(requestId) {
      const stream = streams.get(requestId);
      if (!stream) return false;
      forget(stream);
      return stream.link.connection?.buffered() === 0;
    },

    keep(addresses) {
      for (const [address, { cancelAgain }] of kept) {
        if (addresses.has(address)) continue;
        cancelAgain();
        kept.delete(address);
      }
      for (const [address, instanceIds] of addresses) {
        const known = kept.get(address);
        if (known) known.instanceIds = instanceIds;
        if (known || kept.size >= options.maxKeptLinks) continue;
        const keeping: Kept = { instanceIds, failures: 0, cancelAgain: () => {} };
        kept.set(address, keeping);
        linkTo(address, nextOf(keeping));
      }
    },

    get size() {
      return links.size;
    },

    close() {
      stopIdleCheck();
      for (const { cancelAgain } of kept.values()) cancelAgain();
      kept.clear();
      for (const link of [...links.values()]) drop(link, 'closing');
    },
  };
}
