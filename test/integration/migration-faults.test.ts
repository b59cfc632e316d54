// kill -9 of everybody who has a part in a migration, at each of its stages. In one round as many requests move as there
// are stages; each migration is held at a stage of its own, then the victim is killed, the messages go on, and the victim
// is started again. `npm run proof` gives each victim ten rounds.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ReplayResult } from '../../cli/replay/send.ts';
import { connectNatsBus } from '../../lib/bus/nats-bus.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import * as contracts from '../../lib/contracts.ts';
import { askFleet } from '../../lib/fleet/ask-fleet.ts';
import type { KeyRow, MigrationsReport, MoveAnswer, RequestRow } from '../../lib/operator/types.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import type { Store } from '../../lib/ports/store.ts';
import type { Workflows } from '../../lib/ports/workflows.ts';
import { systemRng } from '../../lib/rng/system-rng.ts';
import { connectRedisStore } from '../../lib/store/redis-store.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { connectTemporalWorkflows } from '../../lib/workflows/temporal-workflows.ts';
import { form } from '../proof/form.ts';
import { countsOf } from '../proof/load.ts';
import { prove } from '../proof/row.ts';
import { type BusGate, startBusGate } from '../support/bus-gate.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { type KvLink, startKvLink } from '../support/kv-link.ts';
import { migrationStages, pointOfNoReturn, stageHolder } from '../support/migration-stages.ts';
import { movingEngines } from '../support/moving-engines.ts';
import { connectStreams, problems, type Streams } from './live-streams.ts';

const { rounds } = form;
const victims = ['source', 'target', 'worker', 'migration-coordinator', 'Temporal'] as const;
type Victim = (typeof victims)[number];
/** More than half of them on one instance, at least. */
const requestCount = 2 * migrationStages.length;
const limits = { requestsPerMinute: 0, tokensPerMinute: 0, budgetMicros: 1_000_000_000 };

describe.each(await movingEngines())('kill -9 at each stage of a migration of $name', (engines) => {
  let fleet: Fleet;
  let gate: BusGate;
  let link: KvLink;
  let holdAt: ReturnType<typeof stageHolder>;
  let streams: Streams;
  let keyId: string;
  let bus: Bus;
  let store: Store;
  let workflows: Workflows;
  /** How often the end of each request was told. */
  const ends = new Map<string, number>();
  /** Migrations that have ended, over all rounds. */
  const outcomesSoFar = { committed: 0, aborted: 0 };

  beforeAll(async () => {
    link = await startKvLink();
    fleet = await startFleet({
      pools: [{ id: 'chat', instances: 2, max: 2, ...engines.pool }],
      settings: {
        gateway: { auth: 'keys' },
        agent: engines.agentSettings,
        // Held messages must outlast the time until all migrations have come to their stages.
        worker: { askMs: 4_000, handOverMs: 4_000 },
        'migration-coordinator': { mode: 'off', maxForcedPerInstance: 64, pauseLeaseMs: 5_000, ...engines.coordinatorSettings },
      },
      busThrough: {
        'worker-1': async (natsAddress) => {
          gate = await startBusGate(natsAddress);
          return gate.address;
        },
      },
    });
    holdAt = stageHolder(gate, link);
    const telemetry = createMemoryTelemetry(systemClock, { process: 'test' });
    bus = await connectNatsBus({ servers: fleet.servers.nats.address, identity: 'test', clock: systemClock, rng: systemRng, telemetry });
    bus.subscribe(contracts.requestsDone, ['*'], ({ ended }) => {
      for (const { requestId } of ended) ends.set(requestId, (ends.get(requestId) ?? 0) + 1);
    });
    store = connectRedisStore({ url: fleet.servers.redis.address, clock: systemClock, telemetry });
    workflows = connectTemporalWorkflows({ address: fleet.temporalAddress, namespace: 'default', telemetry });
    const key = await fleet.client('test').post<KeyRow & { secret: string }>('/keys', { name: 'mover', ...limits });
    keyId = key.id;
    streams = connectStreams(fleet.gatewayUrl, key.secret);
    await engines.learn(fleet.gatewayUrl, key.secret, requestCount);
  }, 240_000);

  afterAll(async () => {
    await Promise.all([streams?.close(), workflows?.close(), store?.close(), bus?.drain()]);
    await fleet?.stop();
    await gate?.close();
    await link?.close();
  });

  async function kill(victim: Victim, at: { source: string; target: string }): Promise<() => Promise<void>> {
    if (victim === 'Temporal') {
      await fleet.servers.temporal.kill();
      return () => fleet.servers.temporal.restart();
    }
    const id = victim === 'source' || victim === 'target' ? `agent-${at[victim]}` : `${victim}-1`;
    await fleet.kill(id);
    return async () => fleet.start(id);
  }

  const everyoneReady = () =>
    eventually('the fleet is whole', 30_000, async () => {
      const { services } = await fleet.client('test').get<{ services: { id: string; ready: boolean }[] }>('/status');
      const instances = await fleet.instances();
      const ready = ['worker-1', 'migration-coordinator-1'].every((id) => services.some((service) => service.id === id && service.ready));
      return { ok: ready && instances.length === 2 && instances.every((row) => row.health === 'healthy'), seen: { services, instances } };
    });

  async function runRound(victim: Victim, round: number): Promise<readonly ReplayResult[]> {
    await everyoneReady();
    const operator = fleet.client('test');
    const before = await operator.get<MigrationsReport>('/migrations');
    const answers = Array.from({ length: requestCount }, (_, index) => streams.open(engines.request(`${victim} ${round}`, index)));
    let running: RequestRow[] = [];
    await eventually('all requests run', 60_000, async () => {
      running = (await fleet.requests()).filter((row) => row.state === 'streaming' && row.tokens > 2);
      return { ok: running.length === answers.length, seen: running.length };
    });
    // What the newest view has in its prefill would be computed again at the target, and come to no stage before the hand-over.
    await eventually('the fleet view has all of them decoding', 30_000, async () => {
      const { instances } = await askFleet(bus, { timeoutMs: 2_000 });
      const sequences = instances.flatMap(({ status }) => status?.sequences ?? []);
      const decoding = new Set(sequences.filter(({ state }) => state === 'decode').map(({ requestId }) => requestId));
      return { ok: running.every(({ id }) => decoding.has(id)), seen: sequences.map(({ requestId, state }) => [requestId, state]) };
    });
    // The instance with more of them is the source.
    const onFirst = running.filter((row) => row.instance === 'chat-1');
    const [source, target] = onFirst.length >= migrationStages.length ? ['chat-1', 'chat-2'] : ['chat-2', 'chat-1'];
    const moving = running.filter((row) => row.instance === source).slice(0, migrationStages.length);
    const held = migrationStages.map((stage, index) => ({
      stage,
      hold: holdAt(stage, moving[index]!.id),
    }));
    const reached = new Set<string>();
    for (const { stage, hold } of held) void hold.reached.then(() => reached.add(stage));
    let moves: MoveAnswer[];
    let startAgain: () => Promise<void>;
    try {
      moves = await Promise.all(moving.map((row) => operator.post<MoveAnswer>('/migrate', { request: row.id, to: target })));
      await eventually('every migration is at its stage', 30_000, () => ({
        ok: reached.size === held.length,
        seen: migrationStages.filter((stage) => !reached.has(stage)),
      }));
      startAgain = await kill(victim, { source, target });
    } finally {
      for (const { hold } of held) hold.letGo();
    }
    await startAgain();

    const results = await Promise.all(answers);
    expect(problems(results)).toEqual([]);
    await nothingIsLeft();
    const report = await operator.get<MigrationsReport>('/migrations');
    const outcomes = report.committed + report.aborted - before.committed - before.aborted;
    expect(outcomes, 'migrations that ended, each counted once').toBe(moves.length);
    const outcomeOf = (migrationId: string) => report.recent.find((ended) => ended.migrationId === migrationId)?.outcome;
    const pastNoReturn = moves.filter((_, index) => index >= migrationStages.indexOf(pointOfNoReturn));
    expect(
      pastNoReturn.map(({ plan }) => outcomeOf(plan.migrationId)),
      'what was committed stays so',
    ).toEqual(pastNoReturn.map(() => 'committed'));
    outcomesSoFar.committed += report.committed - before.committed;
    outcomesSoFar.aborted += report.aborted - before.aborted;
    expect(results.map(({ requestId }) => [requestId, ends.get(requestId)])).toEqual(results.map(({ requestId }) => [requestId, 1]));
    return results;
  }

  /** Blocks, reservations and sequences on both sides, migrations and workflows, places in the pool and the key's money. */
  async function nothingIsLeft(): Promise<void> {
    await everyoneReady();
    await eventually('nothing is reserved and nothing moves', 40_000, async () => {
      const [instances, report, requests, open, ledger] = await Promise.all([
        fleet.instances(),
        fleet.client('test').get<MigrationsReport>('/migrations'),
        fleet.requests(),
        workflows.list({ running: true, limit: 100 }),
        store.ledger(keyId, limits),
      ]);
      const idle = instances.every((row) => row.running + row.queued + row.reservedBlocks === 0 && row.freeBlocks === row.totalBlocks);
      const ok = idle && report.active.length === 0 && requests.length === 0 && open.length === 0 && ledger.reservedMicros === 0;
      return { ok, seen: { instances, active: report.active.map((plan) => plan.migrationId), requests, open, ledger } };
    });
  }

  for (const victim of victims) {
    const fault = `kill -9 ${victim === 'Temporal' ? '' : 'the '}${victim} at each stage of a migration${engines.name === 'llama.cpp' ? ' of llama.cpp' : ''}`;
    it(
      `${fault}: every request ends once, token-exact, and nothing stays reserved`,
      () =>
        prove({ fault }, async () => {
          const before = { ...outcomesSoFar };
          const results: ReplayResult[] = [];
          for (let round = 1; round <= rounds; round++) results.push(...(await runRound(victim, round)));
          return {
            ...countsOf(results),
            doubleEnds: 0,
            leftReserved: 0,
            note: `${outcomesSoFar.committed - before.committed} migrations committed, ${outcomesSoFar.aborted - before.aborted} aborted`,
          };
        }),
      rounds * 180_000,
    );
  }
});
