// Secrets of one installation: made once, kept in one file that its owner alone can read, and written out for each
// process: who it is to NATS and Redis, and what the data plane proves itself with.
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { nkeys } from '@nats-io/transport-node';
import { hashKey, keyPrefix } from '../../lib/auth/keys.ts';
import { isLoopback } from '../../lib/net/loopback.ts';
import { natsConfig } from '../../lib/roles/nats-permissions.ts';
import { redisAclFile } from '../../lib/roles/redis-rules.ts';
import { roles, type UserName, userNames } from '../../lib/roles/roles.ts';
import type { Credentials } from '../../lib/run/credentials.ts';
import type { StartSettings } from './settings.ts';

interface Secrets {
  readonly users: Partial<Record<UserName, { readonly nkeySeed: string; readonly redisPassword: string }>>;
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
}

export interface PrepareOptions {
  /** False: that server is somebody else's, and takes other credentials or none. */
  readonly nats: boolean;
  readonly redis: boolean;
  /** Redis 7 or later. */
  readonly readOnlyKeys: boolean;
  /** Where the files of a user or a server go; default: all in `folder`. */
  readonly folderOf?: (owner: UserName | 'nats' | 'redis' | 'root') => string;
}

const secretsFile = 'secrets.json';
const ownerOnly = 0o600;

/** Idempotent. What is there stays; the rest is made. Permissions are written anew each time, since they change with the version. */
export function prepareCredentials(folder: string, options: PrepareOptions): Prepared {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(folder, 0o700);
  const secrets = completed(readSecrets(folder));
  write(join(folder, secretsFile), JSON.stringify(secrets, null, 2));
  const folderOf = options.folderOf ?? (() => folder);
  const userOf = (user: UserName) => secrets.users[user]!;

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
  write(natsConfigPath, natsConfig(each((user) => nkeys.fromSeed(new TextEncoder().encode(userOf(user).nkeySeed)).getPublicKey())));
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
  return { natsConfigPath, redisAclPath, rootKeyPath, credentialsPath, credentials };
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
    users: each((user) => users[user] ?? { nkeySeed: new TextDecoder().decode(nkeys.createUser().getSeed()), redisPassword: random() }),
    fleetSecret: fleetSecret ?? random(),
    rootKey: rootKey ?? `${keyPrefix}${random()}`,
  };
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
