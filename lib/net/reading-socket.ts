// A socket that reads into one piece of memory instead of a new one for every 64 KB: a third of the cost of a byte
// (docs/decisions/0025). Node offers it for sockets that connect only; one that was accepted hands its handle over.
import { Socket, type SocketConstructorOpts } from 'node:net';

/** Larger ones leave the processor's cache. */
const bufferBytes = 128 * 1024;

/**
 * The accepted, paused `socket` as one whose `data` is good until its listeners return. Either is destroyed with the other. Where
 * this Node keeps the handle elsewhere: the socket itself.
 */
export function readingSocket(socket: Socket): Socket {
  const holder = socket as { _handle?: unknown };
  const handle = holder._handle;
  if (typeof handle !== 'object' || handle === null) return socket;
  holder._handle = null;
  const options = {
    handle,
    onread: {
      buffer: Buffer.allocUnsafeSlow(bufferBytes),
      callback: (length: number, memory: Uint8Array) => reading.emit('data', memory.subarray(0, length)),
    },
  };
  const reading: Socket = new Socket(options as unknown as SocketConstructorOpts);
  reading.once('close', () => socket.destroy());
  socket.once('close', () => reading.destroy());
  return reading;
}
