// The bus in production: connects to NATS and puts wire-bus.ts on top.
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { type ConnectionOptions, connect, type NatsConnection, nkeyAuthenticator } from '@nats-io/transport-node';
import type { TlsMaterial } from '../net/tls.ts';
import type { Bus } from '../ports/bus.ts';
import { type Clock, sleep } from '../ports/clock.ts';
import type { Rng } from '../ports/rng.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { watchConnection } from './nats-connection.ts';
import { createNatsLog } from './nats-log.ts';
import { createNatsWire } from './nats-wire.ts';
import type { Neighbours } from './neighbours.ts';
import { createWireBus } from './wire-bus.ts';

export interface NatsBusOptions {
  /** For example nats://127.0.0.1:4222, or several separated by commas. */
  readonly servers: string;
  /** Sender in every message, and the connection's name at the server. */
  readonly identity: string;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly telemetry: Telemetry;
  /** A user and password in the addresses come first. */
  readonly login?: NatsLogin | undefined;
  /** For tls:// addresses, or where the server wants it. */
  readonly tls?: TlsMaterial | undefined;
  /** Of the subjects that answers come to: the server lets a user listen to its own alone. Default: _INBOX */
  readonly inboxPrefix?: string;
  /** The other buses of this process. */
  readonly neighbours?: Neighbours | undefined;
  /** Gives up waiting for the first connection. Default: never. */
  readonly signal?: AbortSignal;
}

export interface NatsLogin {
  readonly token?: string | undefined;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  /** Seed of an nkey: the server has the public part, and the seed is never sent. */
  readonly nkeySeed?: string | undefined;
}

const retryConnectMs = 250;
/** Of the waiting for the first connection, one attempt in so many is logged. */
const logEveryAttempts = 40;

/** Waits until NATS is there, for ever unless `signal` aborts. @throws what the last attempt threw, after the abort */
export async function connectNatsBus(options: NatsBusOptions): Promise<Bus> {
  const { identity, clock, rng, telemetry } = options;
  const nats = await connectPatiently(options);
  telemetry.log.info('bus connected', { server: nats.getServer(), version: nats.info?.version });
  const connection = watchConnection(nats, telemetry, options.inboxPrefix);
  const manager = await jetstreamManager(nats, { checkAPI: false });
  const log = createNatsLog({ connection, client: jetstream(nats), manager, clock, telemetry });
  const wire = createNatsWire(connection, log, telemetry);
  return createWireBus({ wire: options.neighbours?.join(wire) ?? wire, identity, clock, telemetry, newId: () => rng.id('m-') });
}

async function connectPatiently(options: NatsBusOptions): Promise<NatsConnection> {
  const settings: ConnectionOptions = {
    ...reached(options),
    name: options.identity,
    ...(options.inboxPrefix !== undefined && { inboxPrefix: options.inboxPrefix }),
    // A server that was only restarting is found within a quarter of a second; many clients do not come at once.
    maxReconnectAttempts: -1,
    reconnectTimeWait: 150,
    reconnectJitter: 100,
    ignoreAuthErrorAbort: true,
    // A connection that is open but dead is noticed after 15 s.
    pingInterval: 5_000,
    maxPingOut: 2,
    timeout: 2_000,
    // Stack traces captured for every request cost more than the request.
    noAsyncTraces: true,
  };
  for (let attempt = 0; ; attempt++) {
    try {
      return await connect(settings);
    } catch (thrown) {
      if (options.signal?.aborted) throw thrown;
      if (attempt % logEveryAttempts === 0)
        options.telemetry.log.warn('bus not reachable, waiting for it', { servers: withoutPasswords(options.servers), error: String(thrown) });
      await sleep(options.clock, retryConnectMs, options.signal);
    }
  }
}

/** Addresses and who we are. The client library takes no user out of an address. */
function reached({ servers, login = {}, tls }: NatsBusOptions): ConnectionOptions {
  const urls = servers.split(',').map((server) => server.trim());
  const [first] = urls.flatMap((url) => URL.parse(url) ?? []);
  const user = first?.username ? decodeURIComponent(first.username) : login.user;
  const password = first?.username ? decodeURIComponent(first.password) : login.password;
  return {
    servers: urls.map((url) => url.replace(/\/\/[^@/]*@/, '//')),
    ...(user !== undefined
      ? { user, ...(password !== undefined && { pass: password }) }
      : login.nkeySeed !== undefined
        ? { authenticator: nkeyAuthenticator(new TextEncoder().encode(login.nkeySeed)) }
        : login.token !== undefined && { token: login.token }),
    ...((tls || urls.some((url) => url.startsWith('tls:'))) && { tls: { ...tls } }),
  };
}

function withoutPasswords(servers: string): string {
  return servers.replace(/\/\/[^@/,]*@/g, '//***@');
}
