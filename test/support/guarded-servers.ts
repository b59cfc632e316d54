// NATS and Redis that know the users of an installation, as `npm start` sets them up, and besides them a test that may do
// everything.
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { type Prepared, prepareCredentials } from '../../infra/setup/credentials.ts';
import type { AgentSeat } from '../../lib/roles/agent-seat.ts';
import { startNats, startRedis, type TestServer } from './servers.ts';

export interface GuardedServers {
  /** With the test's login in their addresses. */
  readonly nats: TestServer;
  readonly redis: TestServer;
  readonly prepared: Prepared;
}

const login = 'test:test';

/** `seats`: agents with users of their own. */
export async function startGuardedServers(folder: string, seats: readonly AgentSeat[] = []): Promise<GuardedServers> {
  const prepared = prepareCredentials(folder, { nats: true, redis: true, readOnlyKeys: true, seats });
  const { natsConfigPath, redisAclPath } = prepared;
  letTheTestIn(prepared);
  appendFileSync(redisAclPath, 'user test on >test ~* &* +@all\n');
  const [nats, redis] = await Promise.all([startNats({ file: natsConfigPath, login }), startRedis({ file: redisAclPath, login })]);
  return { nats, redis, prepared };
}

/** Whenever NATS' configuration has been written. */
export function letTheTestIn({ natsConfigPath }: Prepared): void {
  const written = readFileSync(natsConfigPath, 'utf8');
  writeFileSync(natsConfigPath, written.replace('users = [', 'users = [\n    { user: test, password: test }'));
}

/** Without the test's login. */
export function plainAddress(server: TestServer): string {
  return server.address.replace(`${login}@`, '');
}
