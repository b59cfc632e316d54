// Records what every workflow does on a real Temporal server, for replay.test.ts. Run it after a change that is meant
// to alter what workflows do (and only then: running workflows of an older version replay on the new code too):
//
//   node test/workflows/record-histories.ts [name...]     only those whose file begins with one of the names
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { drainApproval } from '../../core/approval/requests.ts';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { type VoteInput, voteUpdate } from '../../core/workflows/approval.ts';
import type { WorkflowInputs, WorkflowName } from '../../core/workflows/catalogue.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import type { Workflows } from '../../lib/ports/workflows.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { connectTemporalWorkflows } from '../../lib/workflows/temporal-workflows.ts';
import { bundleWorkflows } from '../../workflows/bundle.ts';
import { eventually } from '../support/eventually.ts';
import { startTemporal } from '../support/servers.ts';
import { activitiesWith, approvalRequest, drainPlan, migrationPlan, scalePlan, transferPlan } from '../support/workflow-inputs.ts';

const folder = join(import.meta.dirname, 'histories');
const wanted = process.argv.slice(2);

const activities = activitiesWith({
  async reserveBlocks(context, plan) {
    if (plan.requestId === 'retried' && context.attempt < 3) throw new SwitchyardError('timeout', 'no answer');
    return { held: { kvAddress: 'tcp://chat-2', transferToken: 'token', address: 'ws://chat-2' }, refusal: null };
  },
  async preCopy(context, { plan }) {
    if (plan.requestId === 'cancelled') {
      await new Promise<void>((resolve) => {
        const beat = setInterval(() => context.heartbeat({ stages: 0, blocks: 0, bytes: 0 }), 200);
        context.signal.addEventListener('abort', () => {
          clearInterval(beat);
          resolve();
        });
      });
      throw new SwitchyardError('cancelled', 'told to stop');
    }
    return { stages: 2, blocks: 18, bytes: 1_800, code: plan.requestId === 'too-fast' ? 'too_many_stages' : '' };
  },
  async cutOver(_, { plan }) {
    if (plan.requestId === 'answer-lost') throw new SwitchyardError('internal', 'the worker lost track');
    return { committed: true, code: '', blocks: 2, bytes: 200, downtimeMs: 5 };
  },
  moveAway: (() => {
    let rounds = 0;
    return async () => ({ moves: [{ requestId: `req-${rounds}`, migrationId: 'mig', code: '' }], left: rounds++ % 2 === 0 ? 1 : 0 });
  })(),
});

const server = await startTemporal();
const telemetry = createMemoryTelemetry(systemClock, { process: 'recorder' });
const workflows = connectTemporalWorkflows({ address: server.address, namespace: 'default', telemetry });
const hosting = workflows.host(activities, { bundle: () => bundleWorkflows() });
const connection = await Connection.connect({ address: server.address });
const client = new Client({ connection });

/** Waits until it can be asked, then votes. Refused votes are part of the recording. */
async function vote(id: string, voter: string, actionHash: string): Promise<void> {
  const ballot: VoteInput = { type: 'vote', voter, decision: 'approve', actionHash, reason: '' };
  await eventually(`vote of ${voter} on ${id}`, 20_000, async () => {
    try {
      await workflows.update(id, voteUpdate, ballot);
    } catch (thrown) {
      if (!(thrown instanceof SwitchyardError) || thrown.code === 'workflow_not_found' || thrown.retryable) throw thrown;
    }
    return { ok: true, seen: 'answer' };
  });
}

async function record<N extends WorkflowName>(
  file: string,
  name: N,
  id: string,
  input: WorkflowInputs[N],
  meanwhile: (id: string) => Promise<void> = async () => {},
  child?: { readonly file: string; readonly id: string },
): Promise<void> {
  if (wanted.length > 0 && !wanted.some((each) => file.startsWith(each))) return;
  await telemetry.span('record', {}, () => workflows.start(name, id, input));
  await meanwhile(id);
  const result = await workflows.result(name, id);
  for (const each of child ? [{ file, id }, child] : [{ file, id }]) {
    const history = await client.workflow.getHandle(each.id).fetchHistory();
    writeFileSync(join(folder, `${each.file}.json`), `${JSON.stringify(anonymous(JSON.parse(historyToJSON(history))), null, 1)}\n`);
    console.log(`${each.file}: ${history.events?.length} events, ${JSON.stringify(result).slice(0, 100)}`);
  }
}

/** Without names of machines and places on them. */
function anonymous(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(anonymous);
  // Workers and their sticky queues are named process@machine-something.
  if (typeof value === 'string') return /^\d+@/.test(value) ? 'worker' : value;
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, key === 'stackTrace' ? '' : anonymous(item)]));
}

async function recordAll(flows: Workflows): Promise<void> {
  for (const requestId of ['committed', 'retried', 'too-fast', 'answer-lost']) {
    await record(`migrate-request-${requestId}`, 'migrateRequest', `mig-${requestId}`, migrationPlan({ migrationId: `mig-${requestId}`, requestId }));
  }
  await record('migrate-request-recompute', 'migrateRequest', 'mig-recompute', migrationPlan({ migrationId: 'mig-recompute', mode: 'recompute' }));
  await record(
    'migrate-request-cancelled',
    'migrateRequest',
    'mig-cancelled',
    migrationPlan({ migrationId: 'mig-cancelled', requestId: 'cancelled' }),
    async (id) => {
      await eventually('it copies', 20_000, async () => {
        const { events } = await client.workflow.getHandle(id).fetchHistory();
        const copying = events?.some((event) => event.activityTaskScheduledEventAttributes);
        return { ok: copying === true, seen: events?.length };
      });
      await flows.cancel(id);
    },
  );
  const short = migrationPlan({ migrationId: 'mig-short', requestId: 'short', shortCopy: true });
  await record('migrate-request-short', 'migrateRequest', short.migrationId, short);
  await record('transfer-kv', 'transferKv', 'transfer-1', transferPlan());
  const bulk = migrationPlan({ migrationId: 'mig-bulk', requestId: 'bulk', bulkCopy: true });
  const itsCopy = { file: 'transfer-kv-of-a-migration', id: 'mig-bulk-kv' };
  await record('migrate-request-bulk', 'migrateRequest', bulk.migrationId, bulk, undefined, itsCopy);

  const decided = approvalRequest({ approvalId: 'approval-decided', quorum: 2 });
  await record('approval-decided', 'approval', 'approval-decided', decided, async (id) => {
    for (const voter of ['bob', 'bob', 'ada', 'cy']) await vote(id, voter, decided.actionHash);
  });
  await record(
    'approval-expired',
    'approval',
    'approval-expired',
    approvalRequest({ approvalId: 'approval-expired', expiresAtMs: Date.now() + 1_000 }),
  );
  await record('approval-withdrawn', 'approval', 'approval-withdrawn', approvalRequest({ approvalId: 'approval-withdrawn' }), (id) =>
    flows.cancel(id),
  );

  await record('drain-instance', 'drainInstance', 'drain-1', drainPlan());
  const plan = drainPlan({ drainId: 'drain-approved' });
  const approval = drainApproval(plan, { nowMs: Date.now(), expiresAtMs: Date.now() + 60_000, useWithinMs: 60_000, quorum: 1, details: [] });
  await record('drain-instance-approved', 'drainInstance', plan.drainId, { ...plan, approval }, () =>
    vote(approval.approvalId, 'bob', approval.actionHash),
  );

  await record(
    'scale-pool-out',
    'scalePool',
    'scale-out',
    scalePlan({ scaleId: 'scale-out', from: 1, to: 2, startInstanceIds: ['chat-3'], stopInstanceIds: [] }),
  );
  const scaleIn = scalePlan({ scaleId: 'scale-in', needsApproval: true, approvalExpiresMs: Date.now() + 60_000 });
  const { pinPayload } = await import('../../core/approval/pin.ts');
  await record('scale-pool-in', 'scalePool', 'scale-in', scaleIn, () => vote('approval-scale-in', 'bob', pinPayload(scaleIn).actionHash));
}

try {
  if (wanted.length === 0) rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await eventually('workflows are hosted', 30_000, () => ({ ok: hosting.ready() === true, seen: hosting.ready() }));
  await recordAll(workflows);
} finally {
  await hosting.stop(5_000);
  await workflows.close();
  await connection.close();
  await server.stop();
}
