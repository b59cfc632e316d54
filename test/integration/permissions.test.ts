// Each user of NATS and Redis can do what its role says and nothing else: tried on real servers, every user against every
// subject and every kind of key.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type NatsConnection, nkeyAuthenticator, type Status } from '@nats-io/transport-node';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../lib/clock/system-clock.ts';
import * as contracts from '../../lib/contracts.ts';
import type { AgentSeat } from '../../lib/roles/agent-seat.ts';
import { busRole, roles, type StoreRole, type UserName, userNames } from '../../lib/roles/roles.ts';
import { readCredentials } from '../../lib/run/credentials.ts';
import { connectRedisStore } from '../../lib/store/redis-store.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { type GuardedServers, letTheTestIn, plainAddress, startGuardedServers } from '../support/guarded-servers.ts';

const folder = mkdtempSync(join(tmpdir(), 'switchyard-roles-'));
let servers: GuardedServers;
beforeAll(async () => {
  servers = await startGuardedServers(folder, [
    seatOf('chat-1'),
    { instances: [{ pool: 'large', id: 'large-2', prefills: true }], launches: undefined },
    { ...seatOf('large-1'), launches: [{ pool: 'chat', id: 'chat-4' }] },
  ]);
});
afterAll(async () => {
  await Promise.all([servers?.nats.stop(), servers?.redis.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

const subjects = Object.values(contracts)
  .flatMap((contract) => ('pattern' in contract ? [contract.pattern] : []))
  .toSorted();
const concrete = (pattern: string) => pattern.replaceAll('*', 'x');

const natsAs = (user: UserName) => connectAs(user, servers.prepared.credentials(user).nats!.nkeySeed);

function connectAs(user: string, nkeySeed: string): Promise<NatsConnection> {
  const authenticator = nkeyAuthenticator(new TextEncoder().encode(nkeySeed));
  return connect({ servers: plainAddress(servers.nats), authenticator, inboxPrefix: `_INBOX.${user}`, reconnect: false });
}

const seatOf = (id: string): AgentSeat => ({ instances: [{ pool: id.split('-')[0]!, id }], launches: undefined });
const seedOf = (id: string, seat = seatOf(id)) => readCredentials(servers.prepared.seat(seat).path).nats!.nkeySeed;

/** What the server refused while `run` did something. */
async function refused(nats: NatsConnection, run: () => void): Promise<string[]> {
  const denied: string[] = [];
  const statuses = nats.status();
  const watching = (async () => {
    for await (const status of statuses as AsyncIterable<Status>) if (status.type === 'error') denied.push(status.error.message);
  })();
  run();
  await nats.flush();
  await nats.flush();
  await nats.close();
  await watching;
  return denied.flatMap((message) => /Permissions Violation for \w+ to "([^"]+)"/i.exec(message)?.[1] ?? []).toSorted();
}

describe('NATS', () => {
  test('lets nobody in who is not a user', async () => {
    await expect(connect({ servers: plainAddress(servers.nats), reconnect: false })).rejects.toThrow(/authorization/i);
    const stranger = nkeyAuthenticator(new TextEncoder().encode('SUAPM67TC4RHQLKBX55NIQXSMATZDOZK6FNEOSS36CAYA7F7TY66LP4BOM'));
    await expect(connect({ servers: plainAddress(servers.nats), authenticator: stranger, reconnect: false })).rejects.toThrow(/authorization/i);
  });

  test.each(userNames)('%s says only what its role says', async (user) => {
    const { publishes, asks, records } = busRole(user);
    const may = new Set([...publishes, ...asks, ...records].map(({ pattern }) => pattern));
    const nats = await natsAs(user);
    const denied = await refused(nats, () => {
      for (const pattern of subjects) nats.publish(concrete(pattern));
      nats.publish('sy.v1.unheard.of');
      nats.publish('$JS.API.STREAM.DELETE.AUDIT');
      nats.publish('$JS.API.STREAM.PURGE.AUDIT');
      nats.publish('_INBOX.gateway.guessed');
    });
    const expected = subjects.filter((pattern) => !may.has(pattern)).map(concrete);
    expect(denied).toEqual(
      [...expected, 'sy.v1.unheard.of', '$JS.API.STREAM.DELETE.AUDIT', '$JS.API.STREAM.PURGE.AUDIT', '_INBOX.gateway.guessed'].toSorted(),
    );
  });

  test.each(userNames)('%s hears only what its role says', async (user) => {
    const { hears, serves } = busRole(user);
    const may = new Set([...hears, ...serves].map(({ pattern }) => pattern));
    const nats = await natsAs(user);
    const others = userNames.filter((other) => other !== user).map((other) => `_INBOX.${other}.>`);
    const tried = [...subjects, ...others, '>', 'sy.>', '_INBOX.>', '$JS.>', `_INBOX.${user}.>`];
    const denied = await refused(nats, () => {
      for (const subject of tried) nats.subscribe(subject, { callback: () => {} });
    });
    expect(denied).toEqual([...subjects.filter((pattern) => !may.has(pattern)), ...others, '>', 'sy.>', '_INBOX.>', '$JS.>'].toSorted());
  });

  test('an agent speaks for its own instances, and for no other', async () => {
    const nats = await connectAs('agent-chat-1', seedOf('chat-1'));
    const own = [
      ...['reserve', 'copy', 'release', 'drop'].map((what) => `sy.v1.agent.chat-1.${what}`),
      ...['sy.v1.operations.services', 'sy.v1.operations.spans', 'sy.v1.operations.traces_kept', '_INBOX.agent-chat-1.>'],
    ];
    const others = ['sy.v1.agent.chat-2.reserve', 'sy.v1.agent.*.copy', 'sy.v1.launcher.*.start', 'sy.v1.launcher.chat-1.stop', '_INBOX.agent.>'];
    const said = [
      'sy.v1.status.chat.chat-2',
      'sy.v1.status.large.chat-1',
      'sy.v1.agent.chat-2.reserve',
      'sy.v1.router.route',
      'sy.v1.gateway.gateway-1.hand_off.chat-1',
      '_INBOX.worker.x',
      'sy.v1.request.done.large',
    ];
    const denied = await refused(nats, () => {
      for (const subject of [...own, ...others]) nats.subscribe(subject, { callback: () => {} });
      for (const subject of ['sy.v1.status.chat.chat-1', 'sy.v1.operations.traces_kept', 'sy.v1.request.done.chat', ...said]) nats.publish(subject);
    });
    expect(denied).toEqual([...others, ...said].toSorted());
  });

  test('an agent that prefills for others gives away what its own instance speaks for, and asks others for blocks', async () => {
    const seat: AgentSeat = { instances: [{ pool: 'large', id: 'large-2', prefills: true }], launches: undefined };
    const nats = await connectAs('agent-large-2', seedOf('large-2', seat));
    const may = [
      ...['gateway.gateway-1.hand_off.large-2', 'gateway.gateway-1.hand_off_outcome.large-2', 'agent.large-1.reserve', 'agent.large-1.drop'],
      ...['status.large.large-2', 'request.done.large'],
    ];
    const mayNot = [
      ...['gateway.gateway-1.hand_off.large-1', 'gateway.gateway-1.hand_off_outcome.large-1', 'gateway.gateway-1.hand_over'],
      ...['gateway.gateway-1.hand_over_outcome', 'agent.large-1.copy', 'agent.large-1.release', 'migration.ended', 'fleet.cordon'],
    ];
    const denied = await refused(nats, () => {
      for (const subject of [...may, ...mayNot]) nats.publish(`sy.v1.${subject}`);
    });
    expect(denied).toEqual(mayNot.map((subject) => `sy.v1.${subject}`).toSorted());
  });

  test('an agent that starts others speaks for these too, and takes only their commands', async () => {
    const launches = [{ pool: 'chat', id: 'chat-4' }];
    const nats = await connectAs('agent-large-1', seedOf('large-1', { instances: [{ pool: 'large', id: 'large-1' }], launches }));
    const denied = await refused(nats, () => {
      for (const subject of ['agent.chat-4.reserve', 'launcher.large-1.stop', 'launcher.chat-4.start', 'launcher.chat-1.start'])
        nats.subscribe(`sy.v1.${subject}`, { callback: () => {} });
      for (const subject of ['status.chat.chat-4', 'status.large.large-1', 'status.chat.chat-1']) nats.publish(`sy.v1.${subject}`);
    });
    expect(denied).toEqual(['sy.v1.launcher.chat-1.start', 'sy.v1.status.chat.chat-1']);
  });

  test('an agent that comes later is let in when NATS has read its configuration again, and nobody is cut off', async () => {
    const admission = await natsAs('admission');
    const heard: string[] = [];
    let cut = false;
    void admission.closed().then(() => (cut = true));
    admission.subscribe(contracts.leaveQueue.pattern, { callback: (_error, message) => void heard.push(message.subject) });
    await admission.flush();
    const { path, isNew } = servers.prepared.seat(seatOf('chat-9'));
    expect(isNew).toBe(true);
    letTheTestIn(servers.prepared);
    const { nkeySeed } = readCredentials(path).nats!;
    await expect(connectAs('agent-chat-9', nkeySeed)).rejects.toThrow(/authorization/i);
    process.kill(servers.nats.pid, 'SIGHUP');
    let late: NatsConnection | undefined;
    await expect.poll(async () => (late = await connectAs('agent-chat-9', nkeySeed).catch(() => undefined))).toBeDefined();
    const gateway = await natsAs('gateway');
    gateway.publish(concrete(contracts.leaveQueue.pattern));
    await expect.poll(() => heard).toHaveLength(1);
    expect(cut).toBe(false);
    await Promise.all([late?.close(), gateway.close(), admission.close()]);
  });

  test('an answer goes where it is wanted, once, and nowhere else', async () => {
    const [router, admission] = await Promise.all([natsAs('router'), natsAs('admission')]);
    const answered: string[] = [];
    admission.subscribe('_INBOX.admission.wanted', { callback: (_error, message) => void answered.push(message.string()) });
    await admission.flush();
    router.subscribe(contracts.route.pattern, {
      callback: (_error, message) => {
        message.respond('first');
        message.respond('second');
        router.publish('_INBOX.admission.other', 'unasked');
      },
    });
    await router.flush();
    admission.publish(contracts.route.pattern, '', { reply: '_INBOX.admission.wanted' });
    await admission.flush();
    await expect.poll(() => answered).toEqual(['first']);
    await Promise.all([router.close(), admission.close()]);
  });
});

type Wanted = (name: string) => readonly [key: string, ...commands: readonly (readonly string[])[]];
const kinds: Readonly<Record<'leases' | 'snapshots' | 'reads' | 'writes' | 'appends' | 'readsLogs', Wanted>> = {
  leases: (name) => [`sy:lease:${name}`, ['HMGET', 'owner'], ['HSET', 'owner', 'x']],
  snapshots: (name) => [`sy:snapshot:${name}`, ['HMGET', 'epoch'], ['HSET', 'epoch', '1']],
  reads: (name) => [`sy:entry:${name}`, ['GET']],
  writes: (name) => [`sy:entry:${name}`, ['GET'], ['SET', 'x'], ['DEL']],
  appends: (name) => [`sy:log:${name}`, ['RPUSH', 'x']],
  readsLogs: (name) => [`sy:log:${name}`, ['LRANGE', '0', '-1']],
};
type Kind = keyof typeof kinds;

describe('Redis', () => {
  const open: Redis[] = [];
  let everything: Redis;
  beforeAll(() => {
    everything = new Redis(servers.redis.address);
    open.push(everything);
  });
  afterAll(() => {
    for (const redis of open) redis.disconnect();
  });

  function redisAs(user: UserName): Redis {
    const { user: username, password } = servers.prepared.credentials(user).redis!;
    const redis = new Redis(plainAddress(servers.redis), { username, password, retryStrategy: () => null });
    open.push(redis);
    return redis;
  }

  const names = (role: StoreRole, kind: Kind) => role[kind] ?? [];
  /** Every name that any role has, by kind, with `*` filled in. */
  const all = (Object.keys(kinds) as Kind[]).flatMap((kind) =>
    userNames.flatMap((user) => names(roles[user].store, kind).map((name) => ({ kind, name: name.replace('*', 'x') }))),
  );

  function allowed(user: UserName, kind: Kind, name: string): boolean {
    const covers = (of: Kind) =>
      names(roles[user].store, of).some((pattern) => (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern));
    return covers(kind) || (kind === 'reads' && covers('writes'));
  }

  test('a stranger is told to log in, and no more', async () => {
    const redis = new Redis(plainAddress(servers.redis), { retryStrategy: () => null, enableReadyCheck: false, protocol: 2 });
    redis.on('error', () => {});
    open.push(redis);
    for (const command of [['PING'], ['GET', 'sy:entry:key/x'], ['KEYS', '*'], ['CONFIG', 'GET', '*'], ['FLUSHALL'], ['INFO'], ['ACL', 'LIST']]) {
      await expect(redis.call(...(command as [string]))).rejects.toThrow(/NOAUTH/);
    }
    // The default user may do everything, and nobody can be it.
    for (const credentials of [['guessed'], ['default', ''], ['default', 'guessed'], ['gateway', 'guessed']]) {
      await expect(redis.call('AUTH', ...credentials)).rejects.toThrow(/WRONGPASS|without any password/);
    }
    await expect(redis.get('sy:entry:key/x')).rejects.toThrow(/NOAUTH/);
  });

  test.each(userNames)('%s touches only what its role says', async (user) => {
    const redis = redisAs(user);
    for (const { kind, name } of all) {
      const [key, ...commands] = kinds[kind](name);
      for (const [command = '', ...rest] of commands) {
        const outcome = await redis.call(command, key, ...rest).then(
          () => 'done',
          (error: Error) => (error.message.startsWith('NOPERM') ? 'refused' : `done, ${error.message}`),
        );
        expect(`${command} ${key}: ${outcome.split(',')[0]}`).toBe(
          `${command} ${key}: ${allowed(user, command === 'GET' ? 'reads' : kind, name) ? 'done' : 'refused'}`,
        );
        if (kind !== 'reads' && kind !== 'readsLogs') await everything.call('DEL', key);
      }
    }
    for (const command of [['KEYS', '*'], ['CONFIG', 'GET', '*'], ['FLUSHALL'], ['ACL', 'LIST'], ['SHUTDOWN'], ['MONITOR'], ['GET', 'other']]) {
      await expect(redis.call(...(command as [string]))).rejects.toThrow(/NOPERM/);
    }
  });
});

describe('ledgers in Redis', () => {
  test('are written by admission alone; the console reads what was spent', async () => {
    const redis = new Redis(servers.redis.address);
    const storeAs = (user: UserName) => {
      const { user: name, password } = servers.prepared.credentials(user).redis!;
      const telemetry = createMemoryTelemetry(systemClock, { process: user });
      return connectRedisStore({ url: plainAddress(servers.redis), clock: systemClock, telemetry, user: { name, password } });
    };
    const [admission, console, gateway] = [storeAs('admission'), storeAs('console'), storeAs('gateway')];
    await admission.settle('key-1', 'req-1', { tokens: 5, costMicros: 7 });
    expect(await console.spent('key-1')).toBe(7);
    expect(await console.spent('key-2')).toBe(0);
    const limits = { requestsPerMinute: 0, tokensPerMinute: 0, budgetMicros: 0 };
    await expect(console.settle('key-1', 'req-2', { tokens: 5, costMicros: -7 })).rejects.toThrow();
    await expect(console.ledger('key-1', limits)).rejects.toThrow();
    await expect(console.set('x', Uint8Array.of(1))).rejects.toThrow();
    await expect(gateway.spent('key-1')).rejects.toThrow();
    for (const [command, ...rest] of [['SET', 'x'], ['DEL'], ['HSET', 'spent', '0'], ['PEXPIRE', '1']] as [string, ...string[]][]) {
      const { user: username, password } = servers.prepared.credentials('console').redis!;
      const raw = new Redis(plainAddress(servers.redis), { username, password, retryStrategy: () => null });
      await expect(raw.call(command, 'sy:ledger:{key-1}', ...rest)).rejects.toThrow(/NOPERM/);
      raw.disconnect();
    }
    expect(await redis.hget('sy:ledger:{key-1}', 'spent')).toBe('7');
    redis.disconnect();
    await Promise.all([admission.close(), console.close(), gateway.close()]);
  });
});

test('files with secrets can be read by their owner alone', () => {
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  for (const path of [
    join(folder, 'secrets.json'),
    servers.prepared.rootKeyPath,
    ...userNames.map((user) => servers.prepared.credentialsPath(user)),
  ]) {
    expect(statSync(path).mode & 0o777, path).toBe(0o600);
  }
});
