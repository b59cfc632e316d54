// The worker as a process on real NATS, Redis and Temporal: killed in the middle of a copy, started before Temporal,
// left without it for a while, and stopped.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connectNatsBus } from '../../lib/bus/nats-bus.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import type { Workflows } from '../../lib/ports/workflows.ts';
import { systemRng } from '../../lib/rng/system-rng.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { connectTemporalWorkflows } from '../../lib/workflows/temporal-workflows.ts';
import type { AuditEvent } from '../../proto/gen/messages.ts';
import { eventually } from '../support/eventually.ts';
import { startNats, startRedis, startTemporal, type TestServer } from '../support/servers.ts';
import { approvalRequest, migrationPlan } from '../support/workflow-inputs.ts';

describe('the worker process', () => {
  let nats: TestServer;
  let redis: TestServer;
  let temporal: TestServer;
  let bus: Bus;
  let workflows: Workflows;
  let processes: ChildProcess[] = [];
  const audit: AuditEvent[] = [];

  beforeAll(async () => {
    [nats, redis, temporal] = await Promise.all([startNats(), startRedis(), startTemporal()]);
    const telemetry = createMemoryTelemetry(systemClock, { process: 'test' });
    bus = await connectNatsBus({ servers: nats.address, identity: 'test', clock: systemClock, rng: systemRng, telemetry });
    bus.subscribe(contracts.audit, [], (event) => void audit.push(event));
    workflows = connectTemporalWorkflows({ address: temporal.address, namespace: 'default', telemetry });
  });

  afterEach(async () => {
    for (const child of processes) await ended(child, 'SIGKILL');
    processes = [];
  });

  afterAll(async () => {
    await workflows?.close();
    await bus?.drain();
    await Promise.all([nats?.stop(), redis?.stop(), temporal?.stop()]);
  });

  let output = '';
  function startWorker(id: string): ChildProcess {
    const child = spawn(process.execPath, [join(import.meta.dirname, '../../services/worker/main.ts')], {
      env: {
        ...process.env,
        NATS_URL: nats.address,
        REDIS_URL: redis.address,
        TEMPORAL_ADDRESS: temporal.address,
        SWITCHYARD_ID: id,
        SWITCHYARD_PROBE_PORT: '0',
        OTEL_TRACES_EXPORTER: 'none',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout?.on('data', (part) => (output = (output + part).slice(-20_000)));
    child.stderr?.on('data', (part) => (output = (output + part).slice(-20_000)));
    processes.push(child);
    return child;
  }

  async function ended(child: ChildProcess, how: NodeJS.Signals): Promise<number | null> {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(how);
    await gone;
    return child.exitCode;
  }

  async function service(id: string) {
    const found = await bus.gather(contracts.describeServices, [], {}, { timeoutMs: 500, expected: 1 });
    return found.find((info) => info.id === id);
  }

  const ready = (id: string, limitMs = 30_000) =>
    eventually(`${id} is ready`, limitMs, async () => {
      const info = await service(id);
      return { ok: info?.ready === true, seen: info?.notReadyBecause ?? output.slice(-500) };
    });

  /** Updates in the history of a workflow, rejected ones if there are any. */
  async function updatesOf(id: string): Promise<number> {
    const connection = await Connection.connect({ address: temporal.address });
    try {
      const { events } = await new Client({ connection }).workflow.getHandle(id).fetchHistory();
      return (events ?? []).filter(
        (event) => event.workflowExecutionUpdateAcceptedEventAttributes ?? event.workflowExecutionUpdateRejectedEventAttributes,
      ).length;
    } finally {
      await connection.close();
    }
  }

  const vote = (approvalId: string, voter: string) =>
    bus.request(
      contracts.vote,
      [],
      { approvalId, voter, decision: 'approve', actionHash: approvalRequest().actionHash, reason: '' },
      { timeoutMs: 15_000 },
    );

  it.each([
    ['killed', 'SIGKILL'],
    ['stopped', 'SIGTERM'],
  ] as const)('that is %s in the middle of a copy is replaced by one that goes on at the stage it had reached', async (how, signal) => {
    const migrationId = `mig-${how}`;
    const stages: number[] = [];
    let letGo = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const served = [
      bus.serve(contracts.reserve, ['chat-2'], () => ({ kvAddress: 'tcp://b', transferToken: 't', address: 'ws://b' })),
      bus.serve(contracts.copyStage, ['chat-1'], async ({ stage, last }) => {
        stages.push(stage);
        // The third stage is under way when the worker dies.
        if (stage === 2) await held;
        const rest = last ? 0 : stage >= 3 ? 2 : 40;
        return { blocksSent: 5, blocksRemaining: rest, bytesSent: 100, elapsedMs: 1, nextIndex: 9, pausedAtMs: Date.now() };
      }),
      bus.serve(contracts.release, ['chat-1'], () => ({})),
      bus.serve(contracts.handOver, ['gateway-1'], () => ({ outcome: 'committed' as const, epoch: 2, instanceId: 'chat-2' })),
      bus.serve(contracts.handOverOutcome, ['gateway-1'], () => ({ outcome: 'refused' as const, epoch: 1, instanceId: 'chat-1' })),
    ];
    const first = startWorker('worker-1');
    await ready('worker-1');
    await workflows.start('migrateRequest', migrationId, migrationPlan({ migrationId, deadlineMs: Date.now() + 60_000 }));
    await eventually('the third stage is under way', 15_000, () => ({ ok: stages.includes(2), seen: stages }));
    // A heartbeat with the two finished stages leaves within a second.
    await eventually('the server knows of two stages', 10_000, async () => {
      const connection = await Connection.connect({ address: temporal.address });
      try {
        const { raw } = await new Client({ connection }).workflow.getHandle(migrationId).describe();
        const details = raw.pendingActivities?.[0]?.heartbeatDetails?.payloads?.[0]?.data;
        const text = details ? Buffer.from(details).toString() : '';
        return { ok: text.includes('"stages":2'), seen: text };
      } finally {
        await connection.close();
      }
    });
    startWorker('worker-2');
    await ended(first, signal);
    letGo();
    expect(await workflows.result('migrateRequest', migrationId)).toMatchObject({ outcome: 'committed', stages: 5, blocks: 25 });
    // Stages that take long are asked for again and again; what was finished is not.
    expect(stages).toEqual(stages.toSorted());
    expect([...new Set(stages)]).toEqual([0, 1, 2, 3, 4]);
    await Promise.all(served.map((subscription) => subscription.stop()));
  });

  it('writes a refused vote to the audit log, and the workflow keeps no trace of it', async () => {
    startWorker('worker-3');
    await ready('worker-3');
    await workflows.start('approval', 'approval-live', approvalRequest({ approvalId: 'approval-live', expiresAtMs: Date.now() + 60_000 }));
    await eventually('it is listed', 10_000, async () => {
      const { approvals } = await bus.request(contracts.listApprovals, [], { includeEnded: false }, { timeoutMs: 2_000 });
      return { ok: approvals.some((approval) => approval.request?.approvalId === 'approval-live'), seen: approvals };
    });
    const seenBefore = audit.length;
    expect(await vote('approval-live', 'ada')).toMatchObject({ refusal: { code: 'voter_is_requester' } });
    expect(audit.slice(seenBefore)).toMatchObject([{ kind: 'approval.vote_refused', actor: 'ada', target: 'approval-live' }]);
    expect(await updatesOf('approval-live')).toBe(0);
    expect(await vote('approval-live', 'bob')).toMatchObject({ refusal: null, approval: { state: 'approved' } });
    expect(await updatesOf('approval-live')).toBe(1);
    expect(await vote('approval-live', 'cy')).toMatchObject({ refusal: { code: 'approval_closed' } });
    const kinds = () => audit.filter((event) => event.target === 'approval-live').map((event) => event.kind);
    await eventually('the decision is in the log', 5_000, () => ({ ok: kinds().includes('approval.approved'), seen: kinds() }));
  });

  it('started without Temporal says so, hosts when it comes, and outlives a restart of it', async () => {
    await temporal.kill();
    const child = startWorker('worker-4');
    await eventually('it says what is missing', 15_000, async () => {
      const info = await service('worker-4');
      return { ok: info?.ready === false && info.notReadyBecause.includes('Temporal'), seen: info ?? output.slice(-500) };
    });
    await temporal.restart();
    await ready('worker-4');
    const expiresAtMs = Date.now() + 6_000;
    await workflows.start('approval', 'approval-outage', approvalRequest({ approvalId: 'approval-outage', expiresAtMs }));
    await temporal.kill();
    await eventually('it notices', 15_000, async () => ({ ok: (await service('worker-4'))?.ready === false, seen: 'ready' }));
    await temporal.restart();
    await ready('worker-4');
    expect(await workflows.result('approval', 'approval-outage')).toMatchObject({ state: 'expired' });
    expect(child.exitCode).toBeNull();
    expect(await ended(child, 'SIGTERM')).toBe(0);
  }, 90_000);
});
