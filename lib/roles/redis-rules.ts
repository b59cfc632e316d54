// What Redis lets a user do, from its role: commands, and the keys that they may touch.
import { keyPatterns, ledgerPattern } from '../store/redis-keys.ts';
import { roles, type UserName } from './roles.ts';

/** To connect, to ask whether Redis is there, and to leave. */
const everybody = ['ping', 'info', 'quit'];
const scripted = ['eval', 'evalsha'];

/** Rules as ACL SETUSER takes them. Redis before 7 cannot tell reading from writing: there a reader may write what it reads. */
export function redisRules(user: UserName, { readOnlyKeys }: { readOnlyKeys: boolean }): string[] {
  const { leases = [], snapshots = [], reads = [], writes = [], lists, appends = [], readsLogs = [], ledger, readsLedger } = roles[user].store;
  const commands = new Set(everybody);
  const keys: string[] = [];
  const allow = (needed: readonly string[], patterns: readonly string[], readOnly = false) => {
    if (patterns.length === 0) return;
    for (const command of needed) commands.add(command);
    keys.push(...patterns.map((pattern) => `${readOnly && readOnlyKeys ? '%R' : ''}~${pattern}`));
  };
  allow([...scripted, 'hmget', 'hset'], leases.map(keyPatterns.lease));
  allow([...scripted, 'hget', 'hset', 'hmget'], snapshots.map(keyPatterns.snapshot));
  allow(['get', ...(lists ? ['mget', 'scan'] : [])], reads.map(keyPatterns.entry), true);
  allow(['get', 'set', 'del', ...(lists ? ['mget', 'scan'] : [])], writes.map(keyPatterns.entry));
  allow([...scripted, 'rpush', 'ltrim', 'pexpire'], appends.map(keyPatterns.log));
  allow(['lrange'], readsLogs.map(keyPatterns.log), true);
  const sortedSets = ['zadd', 'zcard', 'zrangebyscore', 'zrem', 'zremrangebyscore', 'zscore'];
  if (ledger) allow([...scripted, 'hmget', 'hset', 'hget', 'hdel', 'pexpire', ...sortedSets], [ledgerPattern]);
  if (readsLedger) allow(['hget'], [ledgerPattern], true);
  return ['resetchannels', ...keys, '-@all', ...[...commands].toSorted().map((command) => `+${command}`)];
}

/**
 * Nobody is this user: it is off. It may do everything because Redis replays its append-only file in its name, and (at least
 * to version 7) skips, without an error, whatever of a script or transaction this user may not do.
 */
const replaying = 'user default off resetpass ~* &* +@all';

/** An ACL file. `sha256` are the hashes of the users' passwords: the file has no secrets. Nobody else can do anything. */
export function redisAclFile(sha256: Readonly<Record<UserName, string>>, options: { readOnlyKeys: boolean }): string {
  const users = (Object.keys(sha256) as UserName[]).map((user) => `user ${user} on #${sha256[user]} ${redisRules(user, options).join(' ')}`);
  return `${[replaying, ...users].join('\n')}\n`;
}
