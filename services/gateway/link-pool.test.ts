import { beforeEach, describe, expect, test } from 'vitest';
import { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import { createMemoryNet, type MemoryNet } from '../../lib/net/memory-net.ts';
import type { Connection } from '../../lib/ports/net.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { LinkFrame, type OpenStream } from '../../proto/gen/messages.ts';
import { createLinkPool, type LinkPool } from './link-pool.ts';

let clock: VirtualClock;
let net: MemoryNet;
let pool: LinkPool;
let address: string;
let accepted: Connection[];
let received: LinkFrame[];
let closed: number;
let lost: string[];
let reached: boolean[];
/** The instances that were to prove themselves. */
let askedFor: string[];

beforeEach(async () => {
  clock = new VirtualClock();
  net = createMemoryNet(clock);
  accepted = [];
  received = [];
  closed = 0;
  lost = [];
  reached = [];
  const listener = await net.listen('link', { host: 'agent', port: 0, maxFrameBytes: 1_000_000 }, (connection) => {
    accepted.push(connection);
    connection.onFrame((bytes) => received.push(LinkFrame.decode(bytes)));
    connection.onClose(() => closed++);
  });
  address = listener.address;
  askedFor = [];
  pool = createLinkPool({
    net: {
      ...net,
      connect(to, options) {
        askedFor.push(options.instanceId ?? '');
        return net.connect(to, options);
      },
    },
    clock,
    telemetry: createMemoryTelemetry(clock),
    gatewayId: 'gateway-1',
    connectMs: 1_000,
    maxFrameBytes: 1_000_000,
    linkBufferBytes: 2_000,
    linkIdleMs: 10_000,
    maxKeptLinks: 1,
    spoken: () => {},
    lost: (requestId, epoch, why) => lost.push(`${requestId} ${epoch} ${why}`),
    reached: (_address, now) => reached.push(now),
  });
});

function open(requestId: string, bodyBytes = 10): void {
  const stream: Omit<OpenStream, 'stream'> = {
    requestId,
    instanceId: 'chat-1',
    epoch: 1,
    endpoint: 'chat',
    body: new Uint8Array(bodyBytes),
    clientStreams: true,
    resumeTokenIds: [],
    resumeText: '',
    reservationId: '',
    priority: 0,
    arrivalMs: 0,
    createdS: 0,
    includeUsage: false,
    gatewayId: 'gateway-1',
    traceparent: '',
    nextIndex: 0,
    maxOutputTokens: 1,
    promptTokens: 1,
    serviceTier: '',
    keyId: '',
    sloClass: 'standard',
  };
  pool.open(address, stream);
}

describe('a token link', () => {
  test('says hello first, then what waited for the connection, in order', async () => {
    open('a');
    open('b');
    pool.cancel('a', 1, 'client_left');
    await clock.advance(1);
    expect(received.map((frame) => frame.hello?.id ?? frame.open?.requestId ?? `cancel ${frame.cancel?.requestId}`)).toEqual([
      'gateway-1',
      'a',
      'b',
      'cancel a',
    ]);
  });

  test('that stood idle is closed, one with a stream is not, and a new one is made when needed', async () => {
    open('a');
    await clock.advance(30_000);
    expect(pool.size).toBe(1);
    pool.forget('a');
    await clock.advance(15_000);
    expect(pool.size).toBe(0);
    expect(closed).toBe(1);
    open('b');
    await clock.advance(1);
    expect(accepted).toHaveLength(2);
    expect(lost).toEqual([]);
  });

  test('that is full sends the stream elsewhere, after the call', async () => {
    open('a', 1_500);
    open('b', 1_500);
    expect(lost).toEqual([]);
    await clock.advance(1);
    expect(lost).toEqual(['b 1 link_full']);
  });

  test('to an agent of another protocol is given up', async () => {
    open('a');
    await clock.advance(1);
    accepted[0]!.send(LinkFrame.encode({ hello: { id: 'agent-1', protocol: 99 } }));
    await clock.advance(1);
    expect(lost).toEqual(['a 1 bad_protocol']);
    expect(closed).toBe(1);
  });

  test('says of a stream that has ended whether all that was sent on it has left', async () => {
    open('a');
    open('b');
    expect(pool.forget('a')).toBe(false);
    await clock.advance(1);
    expect(pool.forget('b')).toBe(true);
    expect(pool.forget('b')).toBe(false);
    open('c');
    expect(pool.forget('c')).toBe(false);
  });

  test('cancels only the stream of that epoch, once', async () => {
    open('a');
    pool.cancel('a', 2, 'moved');
    pool.cancel('a', 1, 'moved');
    pool.cancel('a', 1, 'moved');
    await clock.advance(1);
    expect(received.filter((frame) => frame.cancel)).toHaveLength(1);
  });
});

describe('a kept link', () => {
  const hello = LinkFrame.encode({ hello: { id: 'agent-1', protocol: 1 } });
  const answered = async () => {
    await clock.advance(1);
    accepted.at(-1)!.send(hello);
    await clock.advance(1);
  };

  test('is there before it is needed, stays although it is idle, and is made again when it breaks', async () => {
    pool.keep(new Map([[address, ['chat-1']]]));
    await answered();
    expect(reached).toEqual([true]);
    await clock.advance(60_000);
    expect([accepted.length, closed]).toEqual([1, 0]);
    accepted[0]!.close();
    await clock.advance(1);
    expect(reached).toEqual([true, false]);
    await clock.advance(100);
    await answered();
    expect(reached).toEqual([true, false, true]);
    expect(accepted).toHaveLength(2);
  });

  test('to an agent that is gone is tried at growing pauses, until nobody wants it', async () => {
    pool.keep(new Map([['ws://gone:1', ['chat-1']]]));
    await clock.advance(10_000);
    const tries = reached.length;
    expect(tries).toBeGreaterThan(5);
    expect(tries).toBeLessThan(12);
    pool.keep(new Map());
    await clock.advance(10_000);
    expect(reached).toHaveLength(tries);
  });

  test('is asked of another instance at each try: one that is said to be there may not be', async () => {
    pool.keep(new Map([['ws://gone:1', ['chat-1', 'chat-2']]]));
    await clock.advance(1_000);
    expect(askedFor.slice(0, 3)).toEqual(['chat-1', 'chat-2', 'chat-1']);
    pool.keep(new Map([['ws://gone:1', ['chat-3']]]));
    await clock.advance(5_000);
    expect(askedFor.at(-1)).toBe('chat-3');
  });

  test('is not made beyond the limit', async () => {
    pool.keep(
      new Map([
        ['ws://gone:1', ['chat-1']],
        [address, ['chat-2']],
      ]),
    );
    await clock.advance(10);
    expect(accepted).toHaveLength(0);
  });
});
