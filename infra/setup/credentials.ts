// Secrets of one installation: made once, kept in one file that its owner alone can read, and written out for each
// process: who it is to NATS and Redis, and what the data plane proves itself with.
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { nkeys } from '@nats-io/transport-node';
import { hashKey, keyPrefix } from '../../lib/auth/keys.ts';
import { agentSecrets } from '../../lib/net/link-secrets.ts';
import { isLoopback } from '../../lib/net/loopback.ts';
import { type AgentSeat, seatName, seatRole } from '../../lib/roles/agent-seat.ts';
import { natsConfig } from '../../lib/roles/nats-permissions.ts';
import { redisAclFile } from '../../lib/roles/redis-rules.ts';
import { busRole, roles, type UserName, userNames } from '../../lib/roles/roles.ts';
import type { Credentials } from '../../lib/run/credentials.ts';
import type { StartSettings } from './settings.ts';

interface UserSecrets {
  readonly nkeySeed: string;
  readonly redisPassword: string;
}

interface Secrets {
  /** By name: of services, and of agents with a user of their own. */
  readonly users: Readonly<Record<string, UserSecrets>>;
  readonly fleetSecret: string;
  readonly rootKey: string;
}

export interface Prepared {
  /** A configuration file for nats-server, and an ACL file for redis-server. Neither has a secret. */
  readonly natsConfigPath: string;
  readonly redisAclPath: string;
  /** The root key of the operator API is in this file; services know its hash. */
  readonly rootKeyPath: string;
  /** For SWITCHYARD_CREDENTIALS_FILE. */
  credentialsPath(user: UserName): string;
  credentials(user: UserName): Credentials;
  /**
   * The file of an agent that speaks for these instances alone. When it is new, its user is added to NATS' configuration:
   * the server has to read it again.
   */
  seat(seat: AgentSeat): { readonly path: string; readonly isNew: boolean };
}

export interface PrepareOptions {
  /** False: that server is somebody else's, and takes other credentials or none. */
  readonly nats: boolean;
  readonly redis: boolean;
  /** Agents that are known from the start: NATS need not be told of them again. */
  readonly seats?: readonly AgentSeat[];
  /** What else the configuration of NATS shall have. */
  readonly natsExtra?: string;
  /** Redis 7 or later. */
  readonly readOnlyKeys: boolean;
  /** Where the files of a user (an agent has its seat's name) or a server go; default: all in `folder`. */
  readonly folderOf?: (owner: string) => string;
}

const secretsFile = 'secrets.json';
const ownerOnly = 0o600;

/** Idempotent. What is there stays; the rest is made. Permissions are written anew each time, since they change with the version. */
export function prepareCredentials(folder: string, options: PrepareOptions): Prepared {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(folder, 0o700);
  let secrets = completed(readSecrets(folder));
  write(join(folder, secretsFile), JSON.stringify(secrets, null, 2));
  const folderOf = options.folderOf ?? (() => folder);
  const userOf = (user: string) => secrets.users[user]!;
  const seats = new Map<string, AgentSeat>();
  for (const seat of options.seats ?? []) addSeat(seat);

  function credentials(user: UserName): Credentials {
    const { nkeySeed, redisPassword } = userOf(user);
    return {
      ...(options.nats && { nats: { nkeySeed } }),
      ...(options.redis && { redis: { user, password: redisPassword } }),
      ...(roles[user].dataPlane && { fleetSecret: secrets.fleetSecret }),
      ...(user === 'console' && { settings: { SWITCHYARD_CONSOLE_ROOT_KEY_SHA256: hashKey(secrets.rootKey) } }),
    };
  }

  const credentialsPath = (user: UserName) => join(folderOf(user), `${user}.json`);
  for (const user of userNames) write(credentialsPath(user), JSON.stringify(credentials(user), null, 2));
  const natsConfigPath = join(folderOf('nats'), 'nats.conf');
  writeNatsConfig();
  const redisAclPath = join(folderOf('redis'), 'redis.acl');
  write(
    redisAclPath,
    redisAclFile(
      each((user) => sha256(userOf(user).redisPassword)),
      options,
    ),
  );
  const rootKeyPath = join(folderOf('root'), 'root.key');
  write(rootKeyPath, secrets.rootKey);

  function writeNatsConfig(): void {
    const publicKey = (name: string) => nkeys.fromSeed(new TextEncoder().encode(userOf(name).nkeySeed)).getPublicKey();
    const services = userNames.map((name) => ({ name, role: busRole(name), publicKey: publicKey(name) }));
    const agents = Array.from(seats, ([name, seat]) => ({ name, role: seatRole(seat), publicKey: publicKey(name) }));
    write(natsConfigPath, `${natsConfig([...services, ...agents])}${options.natsExtra ?? ''}`);
  }

  function addSeat(seat: AgentSeat): void {
    const name = seatName(seat);
    seats.set(name, seat);
    if (Object.hasOwn(secrets.users, name)) return;
    secrets = { ...secrets, users: { ...secrets.users, [name]: newUser() } };
    write(join(folder, secretsFile), JSON.stringify(secrets, null, 2));
  }

  function seat(wanted: AgentSeat): { path: string; isNew: boolean } {
    const name = seatName(wanted);
    const path = join(folderOf(name), `${name}.json`);
    const isNew = !seats.has(name);
    if (isNew) {
      addSeat(wanted);
      writeNatsConfig();
    }
    write(path, JSON.stringify(seatCredentials(name, wanted), null, 2));
    return { path, isNew };
  }

  /** It has a user of its own on NATS alone: in Redis an agent has nothing but the leases of what it starts. */
  function seatCredentials(name: string, { instances, launches }: AgentSeat): Credentials {
    const { redis } = credentials(launches === undefined ? 'lone-agent' : 'agent');
    const spokenFor = [...instances, ...(launches ?? [])].map(({ id }) => id);
    return {
      ...(options.nats && { nats: { nkeySeed: userOf(name).nkeySeed, user: name } }),
      ...(redis && { redis }),
      agentSecrets: agentSecrets(secrets.fleetSecret, spokenFor),
      ...(launches && { settings: { SWITCHYARD_AGENT_LAUNCHES: launches.map(({ id }) => id).join(',') } }),
    };
  }

  return { natsConfigPath, redisAclPath, rootKeyPath, credentialsPath, credentials, seat };
}

function readSecrets(folder: string): Partial<Secrets> {
  try {
    return JSON.parse(readFileSync(join(folder, secretsFile), 'utf8')) as Secrets;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new Error(`${join(folder, secretsFile)} cannot be read: ${(thrown as Error).message}. Remove it to have new secrets made.`);
  }
}

function completed({ users = {}, fleetSecret, rootKey }: Partial<Secrets>): Secrets {
  return {
    users: { ...users, ...each((user) => users[user] ?? newUser()) },
    fleetSecret: fleetSecret ?? random(),
    rootKey: rootKey ?? `${keyPrefix}${random()}`,
  };
}

function newUser(): UserSecrets {
  return { nkeySeed: new TextDecoder().decode(nkeys.createUser().getSeed()), redisPassword: random() };
}

function each<T>(of: (user: UserName) => T): Record<UserName, T> {
  return Object.fromEntries(userNames.map((user) => [user, of(user)])) as Record<UserName, T>;
}

function random(): string {
  return randomBytes(32).toString('base64url');
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Never readable by others, not even for a moment. */
function write(path: string, text: string): void {
  writeFileSync(`${path}.new`, `${text}\n`, { mode: ownerOnly });
  renameSync(`${path}.new`, path);
}

/** The folder of the credentials of an `npm start`. */
export function credentialsFolder({ stateFolder }: Pick<StartSettings, 'stateFolder'>): string {
  return join(stateFolder, 'credentials');
}

/** The file of the root key, where the operator API wants one as far as the environment says; console.yaml may say otherwise. */
export function rootKeyToShow(settings: Pick<StartSettings, 'root' | 'stateFolder' | 'host' | 'env'>): string | undefined {
  const auth = settings.env.SWITCHYARD_CONSOLE_AUTH || 'auto';
  if (auth === 'open' || (auth === 'auto' && isLoopback(settings.host))) return undefined;
  return join(relative(settings.root, credentialsFolder(settings)), 'root.key');
}
