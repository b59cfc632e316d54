// The ports of a real process. Waits for NATS and Redis, which nothing can start without; Temporal may come later.
import { connectNatsBus, type NatsLogin } from '../bus/nats-bus.ts';
import type { Neighbours } from '../bus/neighbours.ts';
import { systemClock } from '../clock/system-clock.ts';
import { createNodeHttp } from '../http/node-http.ts';
import type { LinkSecrets } from '../net/link-secrets.ts';
import { createNodeNet } from '../net/node-net.ts';
import { readTls } from '../net/tls.ts';
import { type Clock, sleep } from '../ports/clock.ts';
import type { Identity, Ports } from '../ports/ports.ts';
import type { Store } from '../ports/store.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { systemRng } from '../rng/system-rng.ts';
import { inboxPrefixOf } from '../roles/nats-permissions.ts';
import { connectRedisStore } from '../store/redis-store.ts';
import { connectTemporalWorkflows } from '../workflows/temporal-workflows.ts';
import { type Credentials, credentialsWarning, readCredentials } from './credentials.ts';
import type { Environment } from './environment.ts';

export interface RealPortsOptions {
  readonly environment: Environment;
  readonly identity: Identity;
  /** Its name. */
  readonly service: string;
  /** The other services of this process. */
  readonly neighbours?: Neighbours | undefined;
  readonly telemetry: Telemetry;
  /** Of the process's environment. Default: none is set. */
  readonly variable?: (name: string) => string | undefined;
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
  const credentials = readCredentials(environment.SWITCHYARD_CREDENTIALS_FILE);
  const warning = credentialsWarning(environment.SWITCHYARD_CREDENTIALS_FILE);
  if (warning) telemetry.log.warn(warning);
  const tls = tlsOf(environment);
  const login = natsLogin(environment, credentials);
  const store = connectRedisStore({
    url: environment.REDIS_URL,
    clock,
    telemetry,
    tls: tls.redis,
    user: credentials.redis && { name: credentials.redis.user, password: credentials.redis.password },
  });
  const workflows = connectTemporalWorkflows({
    address: environment.TEMPORAL_ADDRESS,
    namespace: environment.TEMPORAL_NAMESPACE,
    apiKey: environment.TEMPORAL_API_KEY,
    tls: tls.temporal,
    telemetry,
  });
  try {
    options.waiting(`waiting for NATS at ${hidePassword(environment.NATS_URL)}`);
    const bus = await connectNatsBus({
      servers: environment.NATS_URL,
      identity: identity.id,
      clock,
      rng,
      telemetry,
      signal,
      tls: tls.nats,
      login,
      inboxPrefix: inboxPrefixOf(busUser(login, credentials) ?? options.service),
      neighbours: options.neighbours,
    });
    options.waiting(`waiting for Redis at ${hidePassword(environment.REDIS_URL)}`);
    await storeConnected(store, clock, telemetry, environment.REDIS_URL, signal);
    options.waiting('');
    const ports: Ports = {
      clock,
      rng,
      bus,
      store,
      net: createNodeNet(clock, {
        advertiseHost: environment.SWITCHYARD_ADVERTISE_HOST,
        secrets: linkSecrets(environment, credentials),
        tls: tls.link,
        refused: (remote, why) => telemetry.log.warn('connection refused', { remote, why }),
      }),
      http: createNodeHttp({ clock, telemetry }),
      workflows,
      telemetry,
      identity,
      variable: options.variable ?? (() => undefined),
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

/** What the environment says comes first. */
function natsLogin(environment: Environment, { nats }: Credentials): NatsLogin {
  const { NATS_TOKEN: token, NATS_USER: user, NATS_PASSWORD: password, NATS_NKEY_SEED } = environment;
  const named = token !== undefined || user !== undefined;
  return { token, user, password, nkeySeed: NATS_NKEY_SEED ?? (named ? undefined : nats?.nkeySeed) };
}

/** The user of our own credentials, which has a name of its own where a service has several. */
function busUser({ nkeySeed }: NatsLogin, { nats }: Credentials): string | undefined {
  return nkeySeed === nats?.nkeySeed ? nats?.user : undefined;
}

function linkSecrets({ SWITCHYARD_FLEET_SECRET }: Environment, { fleetSecret, agentSecrets }: Credentials): LinkSecrets | undefined {
  const fleet = SWITCHYARD_FLEET_SECRET ?? fleetSecret;
  return fleet === undefined && agentSecrets === undefined ? undefined : { fleet, own: agentSecrets };
}

function tlsOf(environment: Environment) {
  const link = readTls('token links', {
    caFile: environment.SWITCHYARD_LINK_TLS_CA_FILE,
    certFile: environment.SWITCHYARD_LINK_TLS_CERT_FILE,
    keyFile: environment.SWITCHYARD_LINK_TLS_KEY_FILE,
  });
  const temporal = readTls('Temporal', {
    caFile: environment.TEMPORAL_TLS_SERVER_CA_CERT_PATH,
    certFile: environment.TEMPORAL_TLS_CLIENT_CERT_PATH,
    keyFile: environment.TEMPORAL_TLS_CLIENT_KEY_PATH,
  });
  const serverName = environment.TEMPORAL_TLS_SERVER_NAME;
  const withTemporal = temporal || serverName !== undefined || environment.TEMPORAL_TLS || environment.TEMPORAL_API_KEY !== undefined;
  return {
    link,
    nats: readTls('NATS', { caFile: environment.NATS_CA, certFile: environment.NATS_CERT, keyFile: environment.NATS_KEY }),
    redis: readTls('Redis', {
      caFile: environment.REDIS_CA_FILE,
      certFile: environment.REDIS_CERT_FILE,
      keyFile: environment.REDIS_KEY_FILE,
    }),
    temporal: withTemporal ? { ...temporal, serverName } : undefined,
  };
}

function hidePassword(url: string): string {
  return url.replace(/(:\/\/[^:@/]*:)[^@/]*@/g, '$1***@');
}
