// Whether a NATS connection is up, told from its status events: one watcher for the wire, the log and the consumers.
import type { NatsConnection } from '@nats-io/transport-node';
import type { Telemetry } from '../ports/telemetry.ts';

export interface WatchedConnection {
  readonly nats: NatsConnection;
  /** Of the subjects that answers come to. */
  readonly inboxPrefix: string;
  connected(): boolean;
  /** Calls `run` after every reconnect until cancelled, in the order they were added. */
  onReconnect(run: () => void): () => void;
  /** Calls `run` at the end of this turn of the event loop, together with the others: what they publish leaves in one write. */
  atTurnEnd(run: () => void): void;
}

export function watchConnection(nats: NatsConnection, telemetry: Telemetry, inboxPrefix = '_INBOX'): WatchedConnection {
  const gauge = telemetry.gauge('switchyard_bus_connected');
  const reconnected = new Set<() => void>();
  let turnEnd: (() => void)[] = [];
  let isConnected = true;
  gauge.set(1);

  function setConnected(connected: boolean): void {
    if (connected === isConnected) return;
    isConnected = connected;
    gauge.set(connected ? 1 : 0);
    if (!connected) {
      // An orderly end is none.
      if (!nats.isClosed() && !nats.isDraining()) telemetry.log.warn('bus disconnected', {});
      return;
    }
    telemetry.log.info('bus connected again', { server: nats.getServer() });
    for (const run of [...reconnected]) run();
  }

  async function watch(): Promise<void> {
    for await (const status of nats.status()) {
      if (status.type === 'disconnect' || status.type === 'close') setConnected(false);
      else if (status.type === 'reconnect') setConnected(true);
      else if (status.type === 'error') telemetry.log.error('bus error', { error: status.error.message });
      else if (status.type === 'slowConsumer') telemetry.log.warn('bus handlers are slow', { pending: status.pending });
    }
  }
  void watch();

  function endTurn(): void {
    const runs = turnEnd;
    turnEnd = [];
    for (const run of runs) run();
  }

  return {
    nats,
    inboxPrefix,
    connected: () => isConnected && !nats.isClosed(),
    onReconnect(run) {
      reconnected.add(run);
      return () => reconnected.delete(run);
    },
    atTurnEnd(run) {
      if (turnEnd.push(run) === 1) setImmediate(endTurn);
    },
  };
}
