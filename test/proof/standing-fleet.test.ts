// The rows that a whole fleet outlives, one after the other on the same fleet: what one leaves behind the next would find.
import { afterAll, beforeAll, describe } from 'vitest';
import { type BusGate, startBusGate } from '../support/bus-gate.ts';
import { type KvLink, startKvLink } from '../support/kv-link.ts';
import { stageHolder } from '../support/migration-stages.ts';
import { proving } from './form.ts';
import { proveRows } from './row.ts';
import { agentHangsRows } from './rows/agent-hangs.ts';
import { badKvLink, kvBytesPerSecond } from './rows/bad-kv-link.ts';
import { clientLeavesRows } from './rows/client-leaves.ts';
import { gatewayKilledRows } from './rows/gateway-killed.ts';
import { oneBudgetRows } from './rows/one-budget.ts';
import { crowdRunning, maxQueued, overloadRows } from './rows/overload.ts';
import { replicaKilled } from './rows/replica-killed.ts';
import { rollingUpgradeRows } from './rows/rolling-upgrade.ts';
import { natsAway, redisAway, temporalAway, workerKilled } from './rows/servers-away.ts';
import { crowdModel, model, price, smallModel, smallRunning, startWorld, type World } from './world.ts';

const sim = { profile: 'llama-3.1-8b-h100', speed: 0.2, blocks: 2048, kvBytesPerToken: 1024 };

describe('a fleet under faults', () => {
  let world: World;
  let gate: BusGate;
  let link: KvLink;
  beforeAll(async () => {
    link = await startKvLink();
    world = await startWorld({
      pools: [
        { id: 'chat', models: [model], instances: 3, max: 3, price, sim: { ...sim, maxRunning: 64, maxWaiting: 64 } },
        { id: 'small', models: [smallModel], instances: 1, max: 1, price, sim: { ...sim, maxRunning: smallRunning, maxWaiting: 0 } },
        {
          id: 'crowd',
          models: [crowdModel],
          instances: 1,
          max: 1,
          price,
          sim: { ...sim, blocks: 12 * crowdRunning, kvBytesPerToken: 64, maxRunning: crowdRunning, maxWaiting: 0 },
        },
      ],
      replicas: { 'instance-tracker': 2, router: 2, admission: 3, gateway: 2 },
      settings: {
        'migration-coordinator': { mode: 'off', maxForcedPerInstance: 64, bytesPerSecond: kvBytesPerSecond },
        // The shortest: what a dead gateway held is given back within it.
        admission: { reservationTtlMs: 10_000, maxQueued, allowedWaiting: 0 },
        router: { profile: { allowedWaiting: 0 } },
        // A transfer that does not move is given up soon; so is a gateway that nobody hears of.
        agent: { stageTimeoutMs: 4_000, orphanMs: 2_000 },
        worker: { stageMs: 5_000 },
      },
      // KV between agents goes over the link: whoever asks for a reservation is told its address.
      busThrough: {
        'worker-1': async (natsAddress) => {
          gate = await startBusGate(natsAddress);
          stageHolder(gate, link);
          return gate.address;
        },
      },
    });
  }, 240_000);
  afterAll(async () => {
    await world?.stop();
    await gate?.close();
    await link?.close();
  });

  proveRows(
    [
      ...replicaKilled,
      ...agentHangsRows,
      ...gatewayKilledRows,
      natsAway,
      redisAway,
      ...(proving ? [temporalAway, workerKilled] : []),
      ...badKvLink(() => link),
      ...clientLeavesRows,
      ...oneBudgetRows,
      ...(proving ? [...overloadRows, ...rollingUpgradeRows] : []),
    ],
    () => world,
  );
});
