// Our own services as a bench runs them: real processes on real NATS, Redis and Temporal, a key with limits on everything, and
// the process ids by service.
import type { KeyRow, StatusReport } from '../../../lib/operator/types.ts';
import { type Fleet, type FleetOptions, startFleet } from '../../support/fleet.ts';

export interface OurFleet {
  readonly fleet: Fleet;
  /** Of a client with a key, whose requests, tokens and spend are limited and counted. */
  readonly headers: Readonly<Record<string, string>>;
  /** By service name, and nats, redis, temporal. */
  readonly pids: Readonly<Record<string, readonly number[]>>;
  /** Process ids by the names that `fleet.log` takes. */
  readonly pidOf: ReadonlyMap<string, number>;
}

/** No bench comes near them, but each is checked and booked. */
const farLimits = { requestsPerMinute: 1e9, tokensPerMinute: 1e12, budgetMicros: 1e15 };

export async function startOurFleet(options: FleetOptions): Promise<OurFleet> {
  const gateway = { auth: 'keys', ...(options.settings?.gateway as object | undefined) };
  const fleet = await startFleet({ ...options, settings: { ...options.settings, gateway } });
  try {
    const operator = fleet.client('bench');
    const key = await operator.post<KeyRow & { secret: string }>('/keys', { name: 'bench', ...farLimits });
    const { services } = await operator.get<StatusReport>('/status');
    const pids: Record<string, number[]> = {};
    for (const { service, pid } of services) pids[service] = [...(pids[service] ?? []), pid];
    const { nats, redis, temporal } = fleet.servers;
    return {
      fleet,
      headers: { authorization: `Bearer ${key.secret}` },
      pids: { ...pids, nats: [nats.pid], redis: [redis.pid], temporal: [temporal.pid] },
      pidOf: new Map(services.map(({ id, pid }) => [id, pid])),
    };
  } catch (thrown) {
    await fleet.stop();
    throw thrown;
  }
}
