// Stands between two agents on the way of KV blocks, and stops a transfer in the middle: some bytes have arrived, the
// rest has not, and both sides wait.
import { createServer, connect as dial, type Server, type Socket } from 'node:net';

export interface KvLink {
  /** The address through which KV reaches the agent at `address`. */
  through(address: string): Promise<string>;
  /** Stops what is sent for a reservation whose id contains `text`, after `afterBytes` on each connection. */
  hold(text: string, afterBytes: number): { readonly reached: Promise<void>; letGo(): void };
  close(): Promise<void>;
}

export async function startKvLink(): Promise<KvLink> {
  const servers = new Map<string, Promise<{ server: Server; address: string }>>();
  const sockets = new Set<Socket>();
  const holds = new Map<string, { afterBytes: number; reach: () => void; resume: (() => void)[] }>();

  function carry(source: Socket, target: Socket): void {
    let passed = 0;
    let opening = '';
    source.on('data', (part) => {
      if (passed < 1_024) opening += part.toString('latin1');
      passed += part.length;
      target.write(part);
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
      target.on('data', (part) => source.write(part));
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
    async close() {
      for (const socket of sockets) socket.destroy();
      for (const made of servers.values()) (await made).server.close();
    },
  };
}
