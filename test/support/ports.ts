// Ports for what tests start, kept apart from those that the system gives to outgoing connections (Linux: 32768 and
// above, macOS and Windows: 49152 and above): one of those may be taken between its choice and its use.
import { createServer, type Server } from 'node:net';
import { isFree } from '../../infra/setup/listening-port.ts';

const host = '127.0.0.1';
const first = 20_000;
const blockSize = 100;
const blocks = 120;

/** Of this process until it ends: it listens on the first port of its block, so nobody else can claim that one. */
let block: { readonly claim: Server; readonly from: number } | undefined;
let next = 0;

/** A port on 127.0.0.1 that nobody listens on, given out once to one process of all that ask here. */
export async function freePort(): Promise<number> {
  for (;;) {
    if (block === undefined || next === blockSize) {
      block = await claimBlock();
      next = 1;
    }
    const port = block.from + next++;
    if (await isFree(host, port)) return port;
  }
}

export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) ports.push(await freePort());
  return ports;
}

/** Rejects when other processes, or this one, hold every block. */
async function claimBlock(): Promise<{ claim: Server; from: number }> {
  for (let tried = 0; tried < blocks; tried++) {
    const from = first + ((process.pid + tried) % blocks) * blockSize;
    const claim = await listening(from);
    if (claim) return { claim, from };
  }
  throw new Error(`no block of free ports between ${first} and ${first + blocks * blockSize}`);
}

function listening(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer().unref();
    server.once('error', () => resolve(undefined));
    server.listen({ host, port, exclusive: true }, () => resolve(server));
  });
}
