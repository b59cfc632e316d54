// What every implementation of the Workflows port does: Temporal on a real server, and the in-memory twin.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { stateQuery, type VoteInput, voteUpdate, withdrawUpdate } from '../../core/workflows/approval.ts';
import { storyQuery } from '../../core/workflows/story.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import type { Hosting, WorkflowFilter, Workflows } from '../../lib/ports/workflows.ts';
import { createMemoryTelemetry, type MemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { createMemoryWorkflows } from '../../lib/workflows/memory-workflows.ts';
import { connectTemporalWorkflows } from '../../lib/workflows/temporal-workflows.ts';
import type { ApprovalState } from '../../proto/gen/messages.ts';
import { bundleWorkflows } from '../../workflows/bundle.ts';
import { eventually } from '../support/eventually.ts';
import { startTemporal, type TestServer } from '../support/servers.ts';
import { activitiesWith, approvalRequest, drainPlan, migrationPlan } from '../support/workflow-inputs.ts';

interface Subject {
  readonly workflows: Workflows;
  readonly telemetry: MemoryTelemetry;
  stop(): Promise<void>;
}

const subjects: Readonly<Record<string, () => Promise<Subject>>> = {
  'in memory': async () => {
    const telemetry = createMemoryTelemetry(systemClock, { process: 'test' });
    const workflows = createMemoryWorkflows({ clock: systemClock, telemetry });
    return { workflows, telemetry, stop: () => workflows.close() };
  },
  Temporal: async () => {
    const server: TestServer = await startTemporal();
    const telemetry = createMemoryTelemetry(systemClock, { process: 'test' });
    const workflows = connectTemporalWorkflows({ address: server.address, namespace: 'default', telemetry });
    return {
      workflows,
      telemetry,
      async stop() {
        await workflows.close();
        await server.stop();
      },
    };
  },
};

let last = 0;
const newId = (prefix: string) => `${prefix}-${++last}`;
const vote = (voter: string, changes: Partial<VoteInput> = {}): VoteInput => ({
  type: 'vote',
  voter,
  decision: 'approve',
  actionHash: approvalRequest().actionHash,
  reason: '',
  ...changes,
});

describe.each(Object.entries(subjects))('workflows: %s', (_name, create) => {
  let subject: Subject;
  let hosting: Hosting;
  /** Tests say what an activity of one plan does; everything else succeeds. */
  const seen = new Map<string, { attempts: number; lastHeartbeats: unknown[] }>();

  const activities = activitiesWith({
    async reserveBlocks(context, plan) {
      const record = seen.get(plan.migrationId) ?? { attempts: 0, lastHeartbeats: [] };
      seen.set(plan.migrationId, record);
      record.attempts++;
      if (plan.requestId === 'fails-twice' && context.attempt < 3) throw new SwitchyardError('timeout', 'no answer');
      if (plan.requestId === 'fails-for-good') throw new SwitchyardError('stale_epoch', 'an old plan');
      if (plan.requestId === 'has-a-bug') throw new TypeError('undefined is not a function');
      if (plan.requestId === 'is-refused') return { held: null, refusal: { code: 'target_full', message: 'full', retryable: true, retryAfterMs: 0 } };
      return { held: { kvAddress: 'a', transferToken: 'b', address: 'c' }, refusal: null };
    },
    async preCopy(context, { plan }) {
      const record = seen.get(plan.migrationId)!;
      record.lastHeartbeats.push(context.lastHeartbeat ?? null);
      if (plan.requestId === 'dies-while-copying' && context.attempt === 1) {
        context.heartbeat({ stages: 1, blocks: 7, bytes: 700 });
        throw new SwitchyardError('no_responders', 'source restarts');
      }
      if (plan.requestId === 'never-ends') {
        await new Promise<void>((resolve) => {
          const beat = setInterval(() => context.heartbeat({ stages: 0 }), 200);
          const stop = () => {
            clearInterval(beat);
            resolve();
          };
          if (context.signal.aborted) stop();
          context.signal.addEventListener('abort', stop);
        });
        throw new SwitchyardError('cancelled', 'told to stop');
      }
      return { stages: 2, blocks: 18, bytes: 1_800, code: '' };
    },
    async recordApproval(_, { approval }) {
      if (approval.request?.pool === 'unwritable') throw new SwitchyardError('stale_epoch', 'cannot be written');
    },
  });

  const host = () => subject.workflows.host(activities, { bundle: () => bundleWorkflows() });
  const hosted = (it: Hosting) => eventually('workflows are hosted', 30_000, () => ({ ok: it.ready() === true, seen: it.ready() }));

  beforeAll(async () => {
    subject = await create();
    hosting = host();
    await hosted(hosting);
  });

  afterAll(async () => {
    await hosting?.stop(5_000);
    await subject?.stop();
  });

  async function code(of: Promise<unknown>): Promise<string> {
    try {
      await of;
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(SwitchyardError);
      return (thrown as SwitchyardError).code;
    }
    return '';
  }

  async function openApproval(changes = {}): Promise<string> {
    const id = newId('approval');
    await subject.workflows.start('approval', id, approvalRequest({ approvalId: id, ...changes }));
    await eventually('the approval is open', 10_000, async () => {
      const state = await subject.workflows.query<ApprovalState>(id, stateQuery);
      return { ok: state.state === 'pending', seen: state };
    });
    return id;
  }

  it('connects', async () => {
    await eventually('connected', 5_000, () => ({ ok: subject.workflows.connected(), seen: false }));
  });

  it('runs a body and gives its result to everyone who asks', async () => {
    const id = newId('mig');
    expect(await subject.workflows.start('migrateRequest', id, migrationPlan({ migrationId: id }))).toBe(true);
    const result = await subject.workflows.result('migrateRequest', id);
    expect(result).toMatchObject({ outcome: 'committed', code: '', stages: 3, blocks: 20, bytes: 2_000, downtimeMs: 5 });
    expect(await subject.workflows.result('migrateRequest', id)).toEqual(result);
    const summary = await subject.workflows.describe(id);
    expect(summary).toMatchObject({ id, name: 'migrateRequest', status: 'completed' });
    expect(summary.closedAtMs).toBeGreaterThanOrEqual(summary.startedAtMs);
  });

  it('starts an id once, while it runs and after it has ended', async () => {
    const id = await openApproval();
    expect(await subject.workflows.start('approval', id, approvalRequest({ approvalId: id }))).toBe(false);
    await subject.workflows.update(id, withdrawUpdate, { by: 'ada' });
    await subject.workflows.result('approval', id);
    expect(await subject.workflows.start('approval', id, approvalRequest({ approvalId: id }))).toBe(false);
  });

  it('knows no workflow that was never started', async () => {
    expect(await code(subject.workflows.describe('nobody'))).toBe('workflow_not_found');
    expect(await code(subject.workflows.query('nobody', stateQuery))).toBe('workflow_not_found');
    expect(await code(subject.workflows.update('nobody', voteUpdate, vote('bob')))).toBe('workflow_not_found');
    expect(await code(subject.workflows.cancel('nobody'))).toBe('workflow_not_found');
    expect(await code(subject.workflows.result('approval', 'nobody'))).toBe('workflow_not_found');
  });

  it('takes an update, refuses one with the code of its validator, and shows the state to queries', async () => {
    const id = await openApproval({ quorum: 2 });
    expect(await subject.workflows.update<ApprovalState>(id, voteUpdate, vote('bob'))).toMatchObject({ state: 'pending' });
    expect(await subject.workflows.update<ApprovalState>(id, voteUpdate, vote('bob'))).toMatchObject({ state: 'pending', votes: [{ voter: 'bob' }] });
    expect(await code(subject.workflows.update(id, voteUpdate, vote('bob', { decision: 'reject' })))).toBe('already_voted');
    expect(await code(subject.workflows.update(id, voteUpdate, vote('Ada')))).toBe('voter_is_requester');
    expect(await code(subject.workflows.update(id, voteUpdate, vote('cy', { actionHash: 'other' })))).toBe('hash_mismatch');
    expect((await subject.workflows.query<ApprovalState>(id, stateQuery)).votes.map(({ voter }) => voter)).toEqual(['bob']);
    expect(await subject.workflows.update<ApprovalState>(id, voteUpdate, vote('cy'))).toMatchObject({ state: 'approved' });
    expect(await subject.workflows.result('approval', id)).toMatchObject({ state: 'approved' });
    expect(await code(subject.workflows.update(id, voteUpdate, vote('dee')))).toBe('workflow_not_found');
  });

  it('is found by the request, the instance or the pool that it is about, and its children too', async () => {
    const [one, other] = [newId('mig'), newId('mig')];
    const requestId = `req-of-${one}`;
    await subject.workflows.start('migrateRequest', one, migrationPlan({ migrationId: one, requestId, targetInstanceId: 'chat-77' }));
    await subject.workflows.start('migrateRequest', other, migrationPlan({ migrationId: other, requestId: `req-of-${other}` }));
    await Promise.all([one, other].map((id) => subject.workflows.result('migrateRequest', id)));
    const found = async (filter: WorkflowFilter) => (await subject.workflows.list({ ...filter, limit: 100 })).map(({ id }) => id);
    // Temporal lists what has happened a moment later.
    await eventually('it is listed', 20_000, async () => {
      const seen = await found({ request: requestId });
      return { ok: seen.includes(one), seen };
    });
    expect(await found({ request: requestId })).not.toContain(other);
    expect(await found({ instance: 'chat-77', name: 'migrateRequest' })).toEqual([one]);
    expect(await found({ request: requestId, pool: 'chat' })).toContain(one);
    expect(await found({ request: requestId, pool: 'large' })).toEqual([]);
    expect(await found({ request: 'nobody' })).toEqual([]);
    const [listed] = await subject.workflows.list({ request: requestId, name: 'migrateRequest', limit: 1 });
    expect(listed!.summary).toMatch(/^Move req-of-/);
    expect((await subject.workflows.describe(one)).summary).toBe(listed!.summary);
  });

  it('tells the story of what it did, while it runs and afterwards', async () => {
    const waiting = await openApproval();
    const story = (id: string) => subject.workflows.query<string>(id, storyQuery);
    expect(await story(waiting)).toContain('ada asks; 1 vote of others needed until');
    await subject.workflows.update(waiting, voteUpdate, vote('bob', { reason: 'the night is quiet' }));
    await subject.workflows.result('approval', waiting);
    expect((await story(waiting)).split('\n').map((line) => line.replace(/.*? s: /, ''))).toEqual([
      expect.stringContaining('ada asks'),
      'bob approves: the night is quiet',
      '**approved**',
    ]);
    const id = newId('mig');
    await subject.workflows.start('migrateRequest', id, migrationPlan({ migrationId: id }));
    await subject.workflows.result('migrateRequest', id);
    expect((await story(id)).split('\n').at(-1)).toMatch(/\*\*committed\*\*: 20 blocks in 3 stages, tokens stood still for 5 ms/);
  });

  it('keeps time: an approval that nobody decides expires', async () => {
    const id = newId('approval');
    await subject.workflows.start('approval', id, approvalRequest({ approvalId: id, expiresAtMs: Date.now() + 300 }));
    expect(await subject.workflows.result('approval', id)).toMatchObject({ state: 'expired' });
  });

  it('cancels: the body cleans up and says how it ended', async () => {
    const id = await openApproval();
    await subject.workflows.cancel(id);
    expect(await subject.workflows.result('approval', id)).toMatchObject({ state: 'withdrawn' });
    await subject.workflows.cancel(id);
  });

  it('cancels a running activity and waits for it before cleaning up', async () => {
    const id = newId('mig');
    await subject.workflows.start('migrateRequest', id, migrationPlan({ migrationId: id, requestId: 'never-ends' }));
    await eventually('it copies', 10_000, () => ({ ok: (seen.get(id)?.lastHeartbeats.length ?? 0) > 0, seen: seen.get(id) }));
    await subject.workflows.cancel(id);
    expect(await subject.workflows.result('migrateRequest', id)).toMatchObject({ outcome: 'aborted', code: 'cancelled' });
  });

  it('tries activities again while that can help, and only then', async () => {
    const cases = { 'fails-twice': 'committed', 'fails-for-good': 'aborted', 'has-a-bug': 'aborted', 'is-refused': 'aborted' };
    const codes = { 'fails-twice': '', 'fails-for-good': 'stale_epoch', 'has-a-bug': 'internal', 'is-refused': 'target_full' };
    const attempts = { 'fails-twice': 3, 'fails-for-good': 1, 'has-a-bug': 1, 'is-refused': 1 };
    for (const [requestId, outcome] of Object.entries(cases)) {
      const id = newId('mig');
      await subject.workflows.start('migrateRequest', id, migrationPlan({ migrationId: id, requestId }));
      expect(await subject.workflows.result('migrateRequest', id)).toMatchObject({ outcome, code: codes[requestId as keyof typeof codes] });
      expect(seen.get(id)?.attempts).toBe(attempts[requestId as keyof typeof attempts]);
    }
  });

  it('tells the next attempt what the last one had reached', async () => {
    const id = newId('mig');
    await subject.workflows.start('migrateRequest', id, migrationPlan({ migrationId: id, requestId: 'dies-while-copying' }));
    await subject.workflows.result('migrateRequest', id);
    expect(seen.get(id)?.lastHeartbeats).toEqual([null, { stages: 1, blocks: 7, bytes: 700 }]);
  });

  it('reports a body that throws as failed', async () => {
    const id = newId('approval');
    await subject.workflows.start('approval', id, approvalRequest({ approvalId: id, pool: 'unwritable' }));
    expect(await code(subject.workflows.result('approval', id))).toBe('workflow_failed');
    expect((await subject.workflows.describe(id)).status).toBe('failed');
  });

  it('runs children: a drain waits for its approval', async () => {
    const drainId = newId('drain');
    const approvalId = `approval-${drainId}`;
    const { approval: _, ...payload } = drainPlan({ drainId });
    const { pinPayload } = await import('../../core/approval/pin.ts');
    const approval = approvalRequest({ approvalId, ...pinPayload(payload), action: 'drain_last_instance' });
    await subject.workflows.start('drainInstance', drainId, { ...payload, approval });
    await eventually('the approval is open', 10_000, async () => {
      const state = await subject.workflows.query<ApprovalState>(approvalId, stateQuery);
      return { ok: state.state === 'pending', seen: state };
    });
    expect((await subject.workflows.describe(drainId)).status).toBe('running');
    await subject.workflows.update(approvalId, voteUpdate, vote('bob', { actionHash: approval.actionHash }));
    expect(await subject.workflows.result('drainInstance', drainId)).toMatchObject({ outcome: 'empty' });
  });

  it('cancels children with their parent', async () => {
    const drainId = newId('drain');
    const approvalId = `approval-${drainId}`;
    await subject.workflows.start('drainInstance', drainId, drainPlan({ drainId, approval: approvalRequest({ approvalId }) }));
    await eventually('the approval is open', 10_000, async () => {
      const state = await subject.workflows.query<ApprovalState>(approvalId, stateQuery);
      return { ok: state.state === 'pending', seen: state };
    });
    await subject.workflows.cancel(drainId);
    expect(await subject.workflows.result('drainInstance', drainId)).toMatchObject({ outcome: 'cancelled' });
    expect(await subject.workflows.result('approval', approvalId)).toMatchObject({ state: 'withdrawn' });
  });

  it('lists, by name and by whether they run', async () => {
    const id = await openApproval();
    const ids = async (filter: Parameters<Workflows['list']>[0]) => (await subject.workflows.list(filter)).map((item) => item.id);
    await eventually('the running approval is listed', 10_000, async () => {
      const found = await ids({ name: 'approval', running: true, limit: 100 });
      return { ok: found.includes(id), seen: found };
    });
    expect(await ids({ name: 'scalePool', limit: 100 })).toEqual([]);
    expect(await ids({ name: 'approval', running: false, limit: 100 })).not.toContain(id);
    expect(await ids({ limit: 2 })).toHaveLength(2);
  });

  it('puts every activity into the trace of whoever started the workflow, through children too', async () => {
    const { telemetry, workflows } = subject;
    const id = newId('mig');
    const drainId = newId('drain');
    const approvalId = `approval-${drainId}`;
    const parent = await telemetry.span('migrate', {}, async (span) => {
      await workflows.start('migrateRequest', id, migrationPlan({ migrationId: id }));
      await workflows.start(
        'drainInstance',
        drainId,
        drainPlan({ drainId, approval: approvalRequest({ approvalId, expiresAtMs: Date.now() + 200 }) }),
      );
      return span;
    });
    await workflows.result('migrateRequest', id);
    await workflows.result('drainInstance', drainId);
    const inTrace = telemetry.spans.filter((span) => span.traceId === parent.traceId).map((span) => span.name);
    expect(inTrace).toEqual(expect.arrayContaining(['workflow.reserveBlocks', 'workflow.preCopy', 'workflow.cutOver', 'workflow.recordApproval']));
  });

  it('keeps what is started while nobody hosts, and runs it when somebody does', async () => {
    await hosting.stop(5_000);
    const id = newId('mig');
    expect(await subject.workflows.start('migrateRequest', id, migrationPlan({ migrationId: id }))).toBe(true);
    expect((await subject.workflows.describe(id)).status).toBe('running');
    hosting = host();
    expect(await subject.workflows.result('migrateRequest', id)).toMatchObject({ outcome: 'committed' });
  });
});
