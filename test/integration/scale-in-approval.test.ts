import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CommandFailure } from '../../cli/client.ts';
import type { AuditRow, StartedAnswer, WorkflowRow } from '../../lib/operator/types.ts';
import type { ApprovalState } from '../../proto/gen/messages.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { connectStreams, problems } from './live-streams.ts';

describe('scale-in below the floor', () => {
  let fleet: Fleet;
  beforeAll(async () => {
    fleet = await startFleet({
      pools: [
        {
          id: 'chat',
          models: ['llama-3.1-8b'],
          instances: 3,
          min: 0,
          floor: 3,
          sim: { profile: 'llama-3.1-8b-h100', speed: 0.1, blocks: 1024, kvBytesPerToken: 256, maxRunning: 32, maxWaiting: 16 },
        },
      ],
      settings: { 'migration-coordinator': { mode: 'off' }, autoscaler: { approvalWithinMs: 5_000 } },
      oneAgent: true,
    });
  });
  afterAll(() => fleet?.stop());

  const alice = () => fleet.client('alice');
  const bob = () => fleet.client('bob');
  const names = async () => (await fleet.instances()).filter((row) => row.health === 'healthy' && !row.cordoned).map((row) => row.id);

  async function pending(approvalId: string): Promise<ApprovalState> {
    let found: ApprovalState | undefined;
    await eventually(`${approvalId} waits`, 10_000, async () => {
      const approvals = await alice().get<ApprovalState[]>('/approvals');
      found = approvals.find((approval) => approval.request?.approvalId === approvalId);
      return { ok: found?.state === 'pending', seen: approvals };
    });
    return found as ApprovalState;
  }

  async function ending(workflowId: string): Promise<WorkflowRow> {
    let row: WorkflowRow | undefined;
    await eventually(`${workflowId} ends`, 30_000, async () => {
      row = await alice().get<WorkflowRow>(`/workflows/${workflowId}`);
      return { ok: row.status !== 'running', seen: row };
    });
    return row as WorkflowRow;
  }

  it('does nothing when it is refused', async () => {
    const before = await names();
    const { workflowId, approvalId } = await alice().post<StartedAnswer>('/scale', { pool: 'chat', target: 2 });
    const hash = (await pending(approvalId)).request?.actionHash;
    await bob().post(`/approvals/${approvalId}/vote`, { decision: 'reject', hash, reason: 'not during the demo' });
    expect((await ending(workflowId)).result).toMatchObject({ outcome: 'refused', stopped: [] });
    expect(await names()).toEqual(before);
  }, 60_000);

  it('does nothing when nobody decides in time', async () => {
    const before = await names();
    const { workflowId } = await alice().post<StartedAnswer>('/scale', { pool: 'chat', target: 2 });
    expect((await ending(workflowId)).result).toMatchObject({ outcome: 'expired', stopped: [] });
    expect(await names()).toEqual(before);
  }, 60_000);

  it('waits for somebody other than the requester, then moves what runs there and stops the instance', async () => {
    const streams = connectStreams(fleet.gatewayUrl);
    const answers = Array.from({ length: 6 }, (_, index) =>
      streams.open({ model: 'llama-3.1-8b', prompt: `Request ${index} that outlives its instance`, outputTokens: 150, sloClass: 'default' }),
    );
    await eventually('all run', 10_000, async () => {
      const rows = (await fleet.requests()).filter((row) => row.state === 'streaming');
      return { ok: rows.length === answers.length, seen: rows };
    });

    const { workflowId, approvalId } = await alice().post<StartedAnswer>('/scale', { pool: 'chat', target: 2 });
    expect(approvalId).not.toBe('');
    const hash = (await pending(approvalId)).request?.actionHash;
    const own = await alice()
      .post(`/approvals/${approvalId}/vote`, { decision: 'approve', hash })
      .catch((thrown: unknown) => thrown);
    expect(own).toBeInstanceOf(CommandFailure);
    expect((own as CommandFailure).code).toBe('voter_is_requester');
    expect(await names()).toHaveLength(3);
    await eventually('the refused vote is in the audit log', 5_000, async () => {
      const events = await alice().get<AuditRow[]>('/audit');
      return { ok: events.some((event) => event.kind === 'approval.vote_refused' && event.actor === 'alice'), seen: events };
    });

    await bob().post(`/approvals/${approvalId}/vote`, { decision: 'approve', hash });
    const { result } = await ending(workflowId);
    expect(result).toMatchObject({ outcome: 'completed' });
    const stopped = (result as { stopped: string[] }).stopped;
    expect(stopped).toHaveLength(1);
    expect(await names()).toHaveLength(2);
    expect(problems(await Promise.all(answers))).toEqual([]);
    await streams.close();
  }, 90_000);
});
