// Stands between two agents on the way of KV blocks. It stops a transfer in the middle, where some bytes have arrived, the
// rest has not, and both sides wait; or it is a bad link: cut, slow, or one that changes bytes.
import { createServer, connect as dial, type Server, type Socket } from 'node:net';

/** What the link does to bytes from the sender, from now on, whatever the connection. */
export type KvWeather =
  | { readonly kind: 'fair' }
  /** Neither way does anything arrive any more, and no connection is closed: both ends wait. */
  | { readonly kind: 'partition' }
  | { readonly kind: 'slow'; readonly bytesPerSecond: number }
  /** One bit in one byte of each so many. */
  | { readonly kind: 'flip'; readonly everyBytes: number };

export interface KvLink {
  /** The address through which KV reaches the agent at `address`. */
  through(address: string): Promise<string>;
  /** Stops what is sent for a reservation whose id contains `text`, after `afterBytes` on each connection. */
  hold(text: string, afterBytes: number): { readonly reached: Promise<void>; letGo(): void };
  /** A partition that ends does not bring back what it has swallowed. */
  become(weather: KvWeather): void;
  /** Bytes that senders have sent, swallowed ones included. */
  readonly sentBytes: number;
  /** Bytes that were changed. */
  readonly flippedBytes: number;
  close(): Promise<void>;
}

export async function startKvLink(): Promise<KvLink> {
  const servers = new Map<string, Promise<{ server: Server; address: string }>>();
  const sockets = new Set<Socket>();
  const holds = new Map<string, { afterBytes: number; reach: () => void; resume: (() => void)[] }>();

  let weather: KvWeather = { kind: 'fair' };
  let sentBytes = 0;
  let flippedBytes = 0;

  function carry(source: Socket, target: Socket): void {
    let passed = 0;
    let opening = '';
    source.on('data', (part) => {
      if (passed < 1_024) opening += part.toString('latin1');
      if (weather.kind === 'flip') flippedBytes += flip(part, passed, weather.everyBytes);
      passed += part.length;
      sentBytes += part.length;
      if (weather.kind !== 'partition') target.write(part);
      if (weather.kind === 'slow') {
        source.pause();
        setTimeout(() => source.resume(), (part.length / weather.bytesPerSecond) * 1000);
      }
      for (const [text, hold] of holds) {
        if (passed < hold.afterBytes || !opening.includes(text)) continue;
        source.pause();
        hold.resume.push(() => source.resume());
        hold.reach();
      }
    });
  }

  async function listen(address: string): Promise<{ server: Server; address: string }> {
    const { hostname, port, protocol } = new URL(address);
    const server = createServer((source) => {
      const target = dial(Number(port), hostname);
      for (const socket of [source, target]) {
        socket.setNoDelay(true);
        sockets.add(socket);
        socket.on('error', () => {});
        socket.on('close', () => {
          sockets.delete(socket);
          source.destroy();
          target.destroy();
        });
      }
      carry(source, target);
      target.on('data', (part) => {
        if (weather.kind !== 'partition') source.write(part);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { server, address: `${protocol}//127.0.0.1:${(server.address() as { port: number }).port}` };
  }

  return {
    async through(address) {
      if (!servers.has(address)) servers.set(address, listen(address));
      return (await servers.get(address)!).address;
    },
    hold(text, afterBytes) {
      let reach = () => {};
      const reached = new Promise<void>((resolve) => {
        reach = resolve;
      });
      const held = { afterBytes, reach, resume: [] as (() => void)[] };
      holds.set(text, held);
      return {
        reached,
        letGo() {
          holds.delete(text);
          for (const resume of held.resume.splice(0)) resume();
        },
      };
    },
    become(wanted) {
      weather = wanted;
    },
    get sentBytes() {
      return sentBytes;
    },
    get flippedBytes() {
      return flippedBytes;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      for (const made of servers.values()) (await made).server.close();
    },
  };
}

/** How many it changed. `passed`: bytes of the connection before this part. */
function flip(part: Buffer, passed: number, everyBytes: number): number {
  let flipped = 0;
  for (let at = everyBytes - 1 - (passed % everyBytes); at < part.length; at += everyBytes, flipped++) part[at]! ^= 1 << (at % 8);
  return flipped;
}
