// A request whose KV is large moves by a copy that is a workflow of its own. In the middle of it the worker is killed and
// every connection is lost; another worker goes on, and what had arrived is not sent again.
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { MigrationsReport, MoveAnswer, StatusReport, WorkflowRow } from '../../lib/operator/types.ts';
import { type BusGate, startBusGate } from '../support/bus-gate.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { type KvLink, startKvLink } from '../support/kv-link.ts';
import { stageHolder } from '../support/migration-stages.ts';
import { connectStreams, problems } from './live-streams.ts';

const kvBytesPerToken = 16 * 1024;
const promptWords = 1_200;
const connections = 2;
/** Of each connection, before it is stopped. */
const passBytes = 4 * 1024 * 1024;

let fleet: Fleet;
let link: KvLink;
const gates: BusGate[] = [];

beforeAll(async () => {
  link = await startKvLink();
  const throughGate = async (natsAddress: string) => {
    const gate = await startBusGate(natsAddress);
    stageHolder(gate, link);
    gates.push(gate);
    return gate.address;
  };
  fleet = await startFleet({
    pools: [
      {
        id: 'chat',
        models: ['llama-3.1-8b'],
        instances: 2,
        sim: { profile: 'llama-3.1-8b-h100', speed: 0.1, blocks: 512, kvBytesPerToken, maxRunning: 8, maxWaiting: 8 },
      },
    ],
    replicas: { worker: 2 },
    settings: {
      'migration-coordinator': { mode: 'off', bulkBytes: 1e6, connections, withinMs: 120_000 },
      // A busy machine must not look like an instance that died: the request would go on elsewhere, and leave nothing to copy.
      gateway: { stallMs: 30_000 },
      'instance-tracker': { deadMs: 30_000 },
      // What is stopped loses its connections soon.
      agent: { stageTimeoutMs: 2_000 },
    },
    busThrough: { 'worker-1': throughGate, 'worker-2': throughGate },
  });
});

afterAll(async () => {
  await fleet?.stop();
  for (const gate of gates) await gate.close();
  await link?.close();
});

it('goes on where it was after its worker was killed and its connections were lost, sending less than twice its bytes', async () => {
  const operator = fleet.client('test');
  const temporal = new Client({ connection: await Connection.connect({ address: fleet.temporalAddress }) });
  const streams = connectStreams(fleet.gatewayUrl);
  const answer = streams.open({ model: 'llama-3.1-8b', prompt: 'word '.repeat(promptWords), outputTokens: 450, sloClass: 'default' });
  const row = async () => (await fleet.requests())[0];
  await eventually('it streams', 30_000, async () => {
    const request = await row();
    return { ok: request?.state === 'streaming' && request.tokens > 3, seen: request };
  });
  const { id, instance: source } = (await row())!;

  const hold = link.hold(id, passBytes);
  const { plan } = await operator.post<MoveAnswer>('/migrate', { request: id, to: '' });
  expect(plan.bulkCopy).toBe(true);
  await hold.reached;
  const copy = temporal.workflow.getHandle(`${plan.migrationId}-kv`);
  const copying = async () => (await copy.describe()).raw.pendingActivities?.[0];

  const worker = (await copying())?.lastWorkerIdentity ?? '';
  const { services } = await operator.get<StatusReport>('/status');
  const killed = services.find((service) => service.service === 'worker' && worker.startsWith(`${service.pid}@`))?.id;
  expect(killed, `one of the workers copies, not ${worker}`).toBeDefined();
  const tokensBefore = (await row())!.tokens;
  await fleet.kill(killed!);
  await eventually('another worker goes on with it', 30_000, async () => {
    const pending = await copying();
    return { ok: pending?.attempt === 2 && pending.lastWorkerIdentity !== worker, seen: pending };
  });
  expect(link.sentBytes, 'the copy stands in the middle').toBeLessThan(plan.expectedBytes / 2);
  expect((await row())!.tokens, 'tokens come meanwhile').toBeGreaterThan(tokensBefore);
  hold.letGo();

  await eventually('the migration ends', 60_000, async () => {
    const report = await operator.get<MigrationsReport>('/migrations');
    return { ok: report.active.length === 0 && report.committed + report.aborted > 0, seen: report };
  });
  const copied = await operator.get<WorkflowRow>(`/workflows/${plan.migrationId}-kv`);
  expect(copied.result).toMatchObject({ outcome: 'completed', code: '' });
  expect((await operator.get<MigrationsReport>('/migrations')).recent[0]).toMatchObject({ outcome: 'committed', requestId: id });
  expect((await row())?.instance).not.toBe(source);

  expect(problems([await answer])).toEqual([]);
  console.log(
    `${Math.round(link.sentBytes / 1e6)} MB sent for ${Math.round(plan.expectedBytes / 1e6)} MB of KV when it began; the copy: ${JSON.stringify(copied.result)}`,
  );
  expect(link.sentBytes).toBeGreaterThan(plan.expectedBytes);
  expect(link.sentBytes).toBeLessThan(2 * plan.expectedBytes);
  await streams.close();
}, 180_000);
