// Connections of given speeds to one address: the first that connects gets the first speed, and so on.
import { createServer, connect as dial, type Socket } from 'node:net';

export interface Throttle {
  /** The address to connect to next. */
  next(): string;
  close(): Promise<void>;
}

const pieceMs = 5;

/** `speeds` in bytes a second, one for each connection. With `loseAfterBytes` the first connection is cut after so many. */
export async function startThrottle(address: string, speeds: readonly number[], loseAfterBytes = Number.POSITIVE_INFINITY): Promise<Throttle> {
  const { hostname, port } = new URL(address);
  const sockets = new Set<Socket>();
  const listeners = await Promise.all(
    speeds.map(async (bytesPerSecond, index) => {
      const server = createServer({ highWaterMark: 65_536 }, (source) => {
        const target = dial(Number(port), hostname);
        for (const socket of [source, target]) {
          sockets.add(socket);
          socket.setNoDelay(true);
          socket.on('error', () => {});
          socket.on('close', () => {
            sockets.delete(socket);
            source.destroy();
            target.destroy();
          });
        }
        target.pipe(source);
        let passed = 0;
        let freeAtMs = performance.now();
        source.on('data', (part) => {
          target.write(part);
          passed += part.length;
          if (index === 0 && passed > loseAfterBytes) {
            source.destroy();
            return;
          }
          freeAtMs = Math.max(freeAtMs, performance.now()) + (part.length / bytesPerSecond) * 1000;
          const waitMs = freeAtMs - performance.now();
          if (waitMs < pieceMs) return;
          source.pause();
          setTimeout(() => source.resume(), waitMs);
        });
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  let connected = 0;
  return {
    next() {
      const bound = listeners[connected++ % listeners.length]!.address();
      return `tcp://127.0.0.1:${bound && typeof bound === 'object' ? bound.port : 0}`;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await Promise.all(listeners.map((server) => new Promise((resolve) => server.close(resolve))));
    },
  };
}
