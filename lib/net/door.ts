// Whoever has connected to a port of the data plane and has not shown yet that it belongs to the fleet: few at a time, and
// not for long, whether it says nothing, little, or begins a handshake that it does not end.
import type { Server, Socket } from 'node:net';
import type { Cancel, Clock } from '../ports/clock.ts';

export interface Door {
  /** Stands before this server from its first connection on. */
  guard(server: Server): void;
  /** It may stay. Of TLS either socket, that of the stream or that below it. */
  letIn(socket: Socket): void;
  /** Cuts whoever waits. */
  close(): void;
}

/** Waiting at once; further ones are cut. */
const maxWaiting = 256;

export function createDoor(clock: Clock, withinMs: number): Door {
  const waiting = new Map<string, { socket: Socket; cancel: Cancel }>();
  const nameOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress} ${remotePort}`;

  function forget(name: string): void {
    waiting.get(name)?.cancel();
    waiting.delete(name);
  }

  return {
    guard(server) {
      server.on('connection', (socket: Socket) => {
        if (waiting.size >= maxWaiting) {
          socket.destroy();
          return;
        }
        const name = nameOf(socket);
        waiting.set(name, { socket, cancel: clock.after(withinMs, () => socket.destroy()) });
        socket.once('close', () => {
          if (waiting.get(name)?.socket === socket) forget(name);
        });
      });
    },
    letIn: (socket) => forget(nameOf(socket)),
    close() {
      for (const { socket } of waiting.values()) socket.destroy();
    },
  };
}
