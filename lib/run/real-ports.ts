// The ports of a real process. Waits for NATS and Redis, which nothing can start without; Temporal may come later.
import { connectNatsBus } from '../bus/nats-bus.ts';
import { systemClock } from '../clock/system-clock.ts';
import { createNodeHttp } from '../http/node-http.ts';
import { createNodeNet } from '../net/node-net.ts';
import { type Clock, sleep } from '../ports/clock.ts';
import type { Identity, Ports } from '../ports/ports.ts';
import type { Store } from '../ports/store.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { systemRng } from '../rng/system-rng.ts';
import { connectRedisStore } from '../store/redis-store.ts';
import { connectTemporalWorkflows } from '../workflows/temporal-workflows.ts';
import type { Environment } from './environment.ts';

export interface RealPortsOptions {
  readonly environment: Environment;
  readonly identity: Identity;
  readonly telemetry: Telemetry;
  /** Gives up waiting for servers. */
  readonly signal: AbortSignal;
  /** Says what is waited for; '' when nothing is. */
  readonly waiting: (what: string) => void;
}

export interface RealPorts {
  readonly ports: Ports;
  /** Lets go what is on its way, then closes every connection. */
  close(): Promise<void>;
}

const lookEveryMs = 100;
const sayEveryMs = 10_000;

/** @throws what the last attempt threw, after `signal` has aborted */
export async function connectRealPorts(options: RealPortsOptions): Promise<RealPorts> {
  const { environment, identity, telemetry, signal } = options;
  const clock = systemClock;
  const rng = systemRng;
  const store = connectRedisStore({ url: environment.REDIS_URL, clock, telemetry });
  const workflows = connectTemporalWorkflows({ address: environment.TEMPORAL_ADDRESS, namespace: environment.TEMPORAL_NAMESPACE, telemetry });
  try {
    options.waiting(`waiting for NATS at ${environment.NATS_URL}`);
    const bus = await connectNatsBus({
      servers: environment.NATS_URL,
      identity: identity.id,
      clock,
      rng,
      telemetry,
      signal,
      ...(environment.NATS_TOKEN === undefined ? {} : { token: environment.NATS_TOKEN }),
    });
    options.waiting(`waiting for Redis at ${hidePassword(environment.REDIS_URL)}`);
    await storeConnected(store, clock, telemetry, environment.REDIS_URL, signal);
    options.waiting('');
    const ports: Ports = {
      clock,
      rng,
      bus,
      store,
      net: createNodeNet(clock, { advertiseHost: environment.SWITCHYARD_ADVERTISE_HOST }),
      http: createNodeHttp({ clock, telemetry }),
      workflows,
      telemetry,
      identity,
    };
    return {
      ports,
      async close() {
        await bus.drain();
        await Promise.all([store.close(), workflows.close()]);
      },
    };
  } catch (thrown) {
    await Promise.all([store.close(), workflows.close()]);
    throw thrown;
  }
}

async function storeConnected(store: Store, clock: Clock, telemetry: Telemetry, url: string, signal: AbortSignal): Promise<void> {
  let saidAtMs = clock.now();
  while (!store.connected()) {
    signal.throwIfAborted();
    await sleep(clock, lookEveryMs, signal);
    if (clock.now() - saidAtMs >= sayEveryMs) {
      saidAtMs = clock.now();
      telemetry.log.warn('store not reachable, waiting for it', { url: hidePassword(url) });
    }
  }
}

function hidePassword(url: string): string {
  return url.replace(/(:\/\/[^:@/]*:)[^@/]*@/, '$1***@');
}
