// What every Net must do: the twin, WebSocket and TCP.
import { once } from 'node:events';
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../lib/clock/system-clock.ts';
import { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import { createMemoryNet } from '../../lib/net/memory-net.ts';
import { createNodeNet, type NodeNetOptions } from '../../lib/net/node-net.ts';
import type { Connection, LinkKind, Listener, Net } from '../../lib/ports/net.ts';
import { testCertificates } from '../support/certificates.ts';

const tls = testCertificates();

const nets: [string, LinkKind, () => Net][] = [
  ['memory', 'link', () => createMemoryNet(systemClock)],
  ['memory with latency', 'kv', () => createMemoryNet(systemClock, { latencyMs: 1 })],
  ['websocket', 'link', () => createNodeNet(systemClock)],
  ['tcp', 'kv', () => createNodeNet(systemClock)],
  ['websocket with a secret', 'link', () => createNodeNet(systemClock, { secrets: { fleet: 'fleet' } })],
  ['tcp with a secret', 'kv', () => createNodeNet(systemClock, { secrets: { fleet: 'fleet' } })],
  ['websocket over TLS', 'link', () => createNodeNet(systemClock, { secrets: { fleet: 'fleet' }, tls })],
  ['tcp over TLS', 'kv', () => createNodeNet(systemClock, { secrets: { fleet: 'fleet' }, tls })],
];

const maxFrameBytes = 4 * 1024 * 1024;
const connectOptions = { timeoutMs: 2000, maxFrameBytes };

describe.each(nets)('net: %s', (_name, kind, make) => {
  const listeners: Listener[] = [];
  afterEach(async () => {
    for (const listener of listeners.splice(0)) await listener.close();
  });

  async function pair(): Promise<{ client: Connection; server: Connection; listener: Listener; net: Net }> {
    const net = make();
    const accepted = Promise.withResolvers<Connection>();
    const listener = await net.listen(kind, { host: '127.0.0.1', port: 0, maxFrameBytes }, accepted.resolve);
    listeners.push(listener);
    const client = await net.connect(listener.address, connectOptions);
    return { client, server: await accepted.promise, listener, net };
  }

  function collect(connection: Connection, count: number): Promise<Uint8Array[]> {
    const frames: Uint8Array[] = [];
    const done = Promise.withResolvers<Uint8Array[]>();
    connection.onFrame((frame) => {
      // A frame is good for as long as its handler runs.
      frames.push(new Uint8Array(frame));
      if (frames.length === count) done.resolve(frames);
    });
    return done.promise;
  }

  const closed = (connection: Connection) => new Promise<string>((resolve) => connection.onClose(resolve));

  test('frames arrive whole and in order, both ways, empty and large ones too', async () => {
    const { client, server } = await pair();
    const sizes = [0, 1, 3, 4, 5, 100, 65_536, 0, 1_000_003, 2];
    const frames = sizes.map((size, index) => new Uint8Array(size).fill(index + 1));
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      const received = collect(to, frames.length);
      for (const frame of frames) from.send(frame);
      const got = await received;
      expect(got.map((frame) => frame.length)).toEqual(sizes);
      expect(got.every((frame, index) => frame.every((byte) => byte === index + 1))).toBe(true);
    }
  });

  test('a frame in two pieces arrives as one, among others', async () => {
    const { client, server } = await pair();
    const received = collect(server, 4);
    client.send(Uint8Array.of(1));
    client.send(Uint8Array.of(2, 3), new Uint8Array(200_000).fill(4));
    client.send(new Uint8Array(), Uint8Array.of(5));
    client.send(Uint8Array.of(6));
    const [first, second, third, fourth] = await received;
    expect([first!.length, second!.length, third!.length, fourth!.length]).toEqual([1, 200_002, 1, 1]);
    expect([...second!.subarray(0, 3), second!.at(-1)]).toEqual([2, 3, 4, 4]);
    expect([third![0], fourth![0]]).toEqual([5, 6]);
  });

  test('a frame never arrives within the call that sends it', async () => {
    const { client, server } = await pair();
    let arrived = false;
    const received = collect(server, 1).then(() => {
      arrived = true;
    });
    client.send(Uint8Array.of(1));
    expect(arrived).toBe(false);
    await received;
  });

  test('frames sent before the other side listens are held', async () => {
    const net = make();
    const listener = await net.listen(kind, { host: '127.0.0.1', port: 0, maxFrameBytes }, (connection) => {
      for (let index = 0; index < 200; index++) connection.send(Uint8Array.of(index));
    });
    listeners.push(listener);
    const client = await net.connect(listener.address, connectOptions);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const frames = await collect(client, 200);
    expect(frames.map((frame) => frame[0])).toEqual(Array.from({ length: 200 }, (_, index) => index));
  });

  test('many small frames keep their borders', async () => {
    const { client, server } = await pair();
    const count = 20_000;
    const received = collect(server, count);
    for (let index = 0; index < count; index++) client.send(new Uint8Array(Uint32Array.of(index).buffer));
    const got = await received;
    expect(got.every((frame, index) => new DataView(frame.buffer, frame.byteOffset, 4).getUint32(0, true) === index)).toBe(true);
  });

  test('frames sent before close still arrive, then both sides hear of the end once', async () => {
    const { client, server } = await pair();
    const received = collect(server, 2);
    let ends = 0;
    client.onClose(() => ends++);
    client.send(new Uint8Array(500_000));
    client.send(Uint8Array.of(9));
    client.close();
    client.close();
    const far = await closed(server);
    expect((await received)[1]).toEqual(expect.objectContaining({ 0: 9 }));
    expect(far).toMatch(/closed by the other side/);
    await closed(client);
    expect(ends).toBe(1);
  });

  test('sending after the end does nothing', async () => {
    const { client, server } = await pair();
    client.close();
    await closed(server);
    client.send(Uint8Array.of(1));
    server.send(Uint8Array.of(1));
    expect(client.buffered()).toBe(0);
    expect(server.buffered()).toBe(0);
    await client.drained(1);
  });

  test('buffered grows when the sender is faster, and drained resolves below the mark', async () => {
    const { client, server } = await pair();
    const total = 64;
    const received = collect(server, total);
    for (let index = 0; index < total; index++) client.send(new Uint8Array(1024 * 1024));
    expect(client.buffered()).toBeGreaterThan(1024 * 1024);
    await client.drained(1024 * 1024);
    expect(client.buffered()).toBeLessThan(1024 * 1024);
    await received;
    await client.drained(0);
    expect(client.buffered()).toBe(0);
  });

  test('a frame above the limit closes the connection and is not delivered', async () => {
    const { client, server } = await pair();
    const frames: Uint8Array[] = [];
    server.onFrame((frame) => frames.push(frame));
    const ends = Promise.all([closed(client), closed(server)]);
    client.send(new Uint8Array(maxFrameBytes + 1));
    expect((await ends)[1]).toBe('frame too large');
    expect(frames).toEqual([]);
  });

  test('closing a listener closes its connections and frees the address', async () => {
    const { client, listener, net } = await pair();
    const end = closed(client);
    await listener.close();
    await end;
    await expect(net.connect(listener.address, connectOptions)).rejects.toMatchObject({ code: 'unreachable', retryable: true });
  });

  test('a taken port is refused with its own code', async () => {
    const { listener, net } = await pair();
    const port = Number(new URL(listener.address).port);
    await expect(net.listen(kind, { host: '127.0.0.1', port, maxFrameBytes }, () => {})).rejects.toMatchObject({ code: 'port_taken' });
  });

  test('onClose of a connection that is closed already is called', async () => {
    const { client } = await pair();
    client.close();
    expect(await closed(client)).toBe('closed');
  });
});

test.each(['link', 'kv'] as const)('where no secret is asked for, a silent %s connection is kept', async (kind) => {
  const clock = new VirtualClock();
  const net = createNodeNet(clock);
  const accepted = Promise.withResolvers<Connection>();
  const listener = await net.listen(kind, { host: '127.0.0.1', port: 0, maxFrameBytes }, accepted.resolve);
  const client = await net.connect(listener.address, connectOptions);
  const server = await accepted.promise;
  const arrived = new Promise<Uint8Array>((resolve, reject) => {
    server.onFrame(resolve);
    server.onClose((why) => reject(new Error(why)));
  });
  await clock.advance(3_500);
  client.send(Uint8Array.of(7));
  expect([...(await arrived)]).toEqual([7]);
  client.close();
  await listener.close();
});

test('connecting to a host that does not answer gives up after the timeout (real time)', async () => {
  const net = createNodeNet(systemClock);
  const sockets: Socket[] = [];
  // Takes the connection and never answers the handshake.
  const silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const address = `ws://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const started = performance.now();
  await expect(net.connect(address, { timeoutMs: 100, maxFrameBytes })).rejects.toMatchObject({
    code: 'unreachable',
    message: expect.stringContaining('no answer within 100 ms'),
  });
  expect(performance.now() - started).toBeLessThan(1000);
  for (const socket of sockets) socket.destroy();
  silent.close();
});

test('a cut in memory loses what is on the way and ends both sides', async () => {
  const net = createMemoryNet(systemClock);
  const accepted = Promise.withResolvers<Connection>();
  const listener = await net.listen('link', { host: 'agent', port: 0, maxFrameBytes }, accepted.resolve);
  const client = await net.connect(listener.address, connectOptions);
  const server = await accepted.promise;
  const frames: Uint8Array[] = [];
  client.onFrame((frame) => frames.push(frame));
  const ends = Promise.all([client, server].map((connection) => new Promise<string>((resolve) => connection.onClose(resolve))));
  server.send(Uint8Array.of(1));
  net.cut(listener.address);
  expect(await ends).toEqual(['connection lost', 'connection lost']);
  expect(frames).toEqual([]);
});

describe('a listener with a secret', () => {
  const listeners: Listener[] = [];
  afterEach(async () => {
    for (const listener of listeners.splice(0)) await listener.close();
  });

  async function listening(kind: LinkKind, options: NodeNetOptions = { secrets: { fleet: 'fleet' } }) {
    const letIn: Connection[] = [];
    const refused: string[] = [];
    const net = createNodeNet(systemClock, { ...options, refused: (_remote, why) => refused.push(why) });
    const listener = await net.listen(kind, { host: '127.0.0.1', port: 0, maxFrameBytes }, (connection) => letIn.push(connection));
    listeners.push(listener);
    return { address: listener.address, port: Number(new URL(listener.address).port), letIn, refused };
  }

  test.each([
    ['link', 'none', undefined],
    ['link', 'another', 'guessed'],
    ['kv', 'another', 'guessed'],
  ] as const)('%s: lets nobody in with %s', async (kind, _which, secret) => {
    const { address, letIn, refused } = await listening(kind);
    await expect(
      createNodeNet(systemClock, { secrets: secret === undefined ? undefined : { fleet: secret } }).connect(address, connectOptions),
    ).rejects.toMatchObject({ code: 'unreachable' });
    expect(letIn).toEqual([]);
    expect(refused).toEqual(secret ? ['it does not know the secret'] : []);
  });

  test('kv: what a stranger sends is never seen, and a large first frame is not even read', async () => {
    const { address, port, letIn } = await listening('kv');
    const stranger = await createNodeNet(systemClock).connect(address, connectOptions);
    stranger.send(new Uint8Array(1_000));
    expect(await new Promise((resolve) => stranger.onClose(resolve))).toBe('closed by the other side');
    const socket = dial(port, '127.0.0.1');
    socket.write(Buffer.from([0x7f, 0xff, 0xff, 0xff]));
    await once(socket, 'close');
    expect(letIn).toEqual([]);
  });

  test.each(['link', 'kv'] as const)('%s: whoever connects does not take a listener that cannot prove itself', async (kind) => {
    const { address } = await listening(kind, {});
    const asking = createNodeNet(systemClock, { secrets: { fleet: 'fleet' } }).connect(address, { timeoutMs: 300, maxFrameBytes });
    await expect(asking).rejects.toMatchObject({ code: 'unreachable' });
  });

  test.each(['link', 'kv'] as const)('%s: listening for other machines takes a secret', async (kind) => {
    const net = createNodeNet(systemClock);
    await expect(net.listen(kind, { host: '0.0.0.0', port: 0, maxFrameBytes }, () => {})).rejects.toMatchObject({ code: 'invalid_config' });
  });

  test.each(['link', 'kv'] as const)('%s over TLS: who does not trust the authority, or has no certificate of it, is not served', async (kind) => {
    const { address, letIn } = await listening(kind, { secrets: { fleet: 'fleet' }, tls });
    for (const other of [undefined, { ca: tls.ca }, testCertificates()]) {
      const connected = createNodeNet(systemClock, { secrets: { fleet: 'fleet' }, ...(other && { tls: other }) }).connect(address, connectOptions);
      await expect(connected).rejects.toMatchObject({ code: 'unreachable' });
    }
    expect(letIn).toEqual([]);
  });
});
