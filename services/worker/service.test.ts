// The worker over in-memory ports: real activities against agents, a gateway, a coordinator and a tracker that only
// answer. What bodies do with the answers is tested in test/workflows.
import { beforeEach, describe, expect, it } from 'vitest';
import { pinPayload } from '../../core/approval/pin.ts';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Bus, Subscription } from '../../lib/ports/bus.ts';
import { createMemoryWorld, type MemoryWorld } from '../../lib/run/memory-ports.ts';
import type { Running } from '../../lib/run/service.ts';
import type { ApprovalRequest, AuditEvent, FleetView, HandOverReply, MigrationEnded, MigrationPlan, VoteReply } from '../../proto/gen/messages.ts';
import { FleetView as FleetViewCodec } from '../../proto/gen/messages.ts';
import { type WorkerConfig, workerSchema } from './config.ts';
import { worker } from './service.ts';

let world: MemoryWorld<VirtualClock>;
let outside: Bus;
let running: Running<WorkerConfig>;
/** The source's answers to copy stages. */
let copying: Subscription;

beforeEach(async () => {
  world = createMemoryWorld();
  outside = world.ports('outside').bus;
  running = await worker.start(workerSchema.parse({}), world.ports('worker-1'));
  await world.clock.advance(0);
});

/** Time moves while the question is on its way. */
async function answered<T>(question: Promise<T>, withinMs = 120_000): Promise<T> {
  let result: { value: T } | { error: unknown } | undefined;
  question.then(
    (value) => (result = { value }),
    (error: unknown) => (result = { error }),
  );
  await world.clock.until(() => result !== undefined, withinMs);
  if (result && 'value' in result) return result.value;
  throw (result as unknown as { error: unknown }).error;
}

function plan(changes: Partial<MigrationPlan> = {}): MigrationPlan {
  const nowMs = world.clock.now();
  return {
    ...{ migrationId: 'mig-1', requestId: 'req-1', gatewayId: 'gateway-1', pool: 'chat', sourceInstanceId: 'a', targetInstanceId: 'b' },
    ...{ targetAddress: 'ws://b', reason: 'operator', reasons: [], mode: 'copy', fromEpoch: 1, toEpoch: 2, coordinatorEpoch: 1, reserveBlocks: 40 },
    ...{
      connections: 2,
      maxStages: 6,
      lastStageBlocks: 4,
      pauseLeaseMs: 2_000,
      reservationTtlMs: 10_000,
      plannedAtMs: nowMs,
      deadlineMs: nowMs + 60_000,
    },
    ...{ expectedBytes: 0, expectedMs: 0, requestedBy: 'ada' },
    ...changes,
  } as MigrationPlan;
}

interface Fakes {
  readonly log: string[];
  /** Blocks that remain after each stage. */
  remaining?: number[];
  handOver?: (question: { nextIndex: number; migrationId: string; address: string }) => Partial<HandOverReply> | Promise<Partial<HandOverReply>>;
  outcome?: () => Partial<HandOverReply>;
  /** Of the target's token link, as it says when it reserves. */
  address?: string;
}

/** Agents `a` and `b` and the gateway, which write down what they are told. */
function serveMigration(fakes: Fakes): void {
  const { log } = fakes;
  const remaining = [...(fakes.remaining ?? [10, 3])];
  const reply = (fields: Partial<HandOverReply>): HandOverReply => ({ outcome: 'committed', epoch: 2, instanceId: 'b', ...fields });
  outside.serve(contracts.reserve, ['b'], ({ reservationId, blocks }) => {
    log.push(`reserve ${reservationId} ${blocks}`);
    return { kvAddress: 'tcp://b', transferToken: 'secret', address: fakes.address ?? 'ws://b' };
  });
  copying = outside.serve(contracts.copyStage, ['a'], ({ stage, last, transferToken, kvAddress, epoch }) => {
    log.push(`copy ${stage}${last ? ' last' : ''} epoch ${epoch} to ${kvAddress} ${transferToken}`);
    const base = { bytesSent: 100, elapsedMs: 1, nextIndex: 0, pausedAtMs: 0, blocksSent: 5 };
    return last
      ? { ...base, blocksRemaining: 0, nextIndex: 77, pausedAtMs: world.clock.now() }
      : { ...base, blocksRemaining: remaining.shift() ?? 99 };
  });
  outside.serve(contracts.release, ['a'], ({ committed, epoch }) => {
    log.push(`release ${committed ? 'committed' : 'resume'} epoch ${epoch}`);
    return {};
  });
  outside.serve(contracts.dropReservation, ['b'], ({ reservationId }) => {
    log.push(`drop ${reservationId}`);
    return {};
  });
  outside.serve(contracts.handOver, ['gateway-1'], async (question) => {
    log.push(
      `hand over ${question.fromEpoch}->${question.toEpoch} next ${question.nextIndex} reservation ${question.reservationId} ${question.mode}`,
    );
    return reply((await fakes.handOver?.(question)) ?? {});
  });
  outside.serve(contracts.handOverOutcome, ['gateway-1'], ({ final }) => {
    log.push(final ? 'final question' : 'question');
    return reply(fakes.outcome?.() ?? { outcome: 'refused', epoch: 1, instanceId: 'a' });
  });
}

async function migrate(changes: Partial<MigrationPlan> = {}) {
  const { workflows } = world.ports('coordinator-1');
  await workflows.start('migrateRequest', 'mig-1', plan(changes));
  return answered(workflows.result('migrateRequest', 'mig-1'));
}

describe('migration', () => {
  it('copies stage by stage, hands over inside the pause lease, releases, and says so', async () => {
    const fakes: Fakes = { log: [] };
    serveMigration(fakes);
    const ended: MigrationEnded[] = [];
    outside.subscribe(contracts.migrationEnded, [], (event) => void ended.push(event));
    expect(await migrate()).toMatchObject({ outcome: 'committed', stages: 3, blocks: 15, bytes: 300 });
    expect(fakes.log).toEqual([
      'reserve mig-1 40',
      'copy 0 epoch 1 to tcp://b secret',
      'copy 1 epoch 1 to tcp://b secret',
      'question',
      'copy 2 last epoch 1 to tcp://b secret',
      'hand over 1->2 next 77 reservation mig-1 copy',
      'release committed epoch 1',
    ]);
    await world.clock.advance(10);
    expect(ended).toMatchObject([{ migrationId: 'mig-1', outcome: 'committed', code: '', stages: 3, blocks: 15 }]);
    const stages = world.telemetry.spans.filter((span) => span.name === 'migrate.stage');
    expect(stages.map((span) => span.attributes['switchyard.stage'])).toEqual([0, 1, 2]);
  });

  it('hands over without copying where it recomputes', async () => {
    const fakes: Fakes = { log: [] };
    serveMigration(fakes);
    expect(await migrate({ mode: 'recompute' })).toMatchObject({ outcome: 'committed', blocks: 0 });
    expect(fakes.log).toEqual(['question', 'hand over 1->2 next 0 reservation  recompute', 'release committed epoch 1']);
  });

  it('hands over to the process that holds the blocks, which may have been started after the plan was made', async () => {
    const addresses: string[] = [];
    const fakes: Fakes = {
      log: [],
      address: 'ws://b-started-again',
      handOver({ address }) {
        addresses.push(address);
        return {};
      },
    };
    serveMigration(fakes);
    expect(await migrate()).toMatchObject({ outcome: 'committed' });
    expect(addresses).toEqual(['ws://b-started-again']);
  });

  it.each([false, true])('notices within a second or two that the source died in the middle of a stage (the last one: %s)', async (inLast) => {
    const fakes: Fakes = { log: [] };
    serveMigration(fakes);
    await copying.stop();
    let asked = 0;
    const dying = outside.serve(contracts.copyStage, ['a'], async ({ last }) => {
      const reply = { bytesSent: 1, elapsedMs: 1, nextIndex: 0, pausedAtMs: 0, blocksSent: 5, blocksRemaining: 3 };
      if (last !== inLast) return reply;
      asked++;
      return new Promise<never>(() => {});
    });
    world.clock.after(700, () => void dying.stop());
    const startedMs = world.clock.now();
    expect(await migrate()).toMatchObject({ outcome: 'aborted', code: 'no_responders' });
    expect(asked).toBe(1);
    const ms = world.clock.now() - startedMs;
    expect(ms, 'ms until the migration was over').toBeLessThan(inLast ? 2_000 : 5_000);
    expect(fakes.log).toContain('drop mig-1');
  });

  it('gives up when the copy does not catch up, and puts both sides back', async () => {
    const fakes: Fakes = { log: [], remaining: [30, 30, 30, 30, 30, 30] };
    serveMigration(fakes);
    expect(await migrate({ maxStages: 4 })).toMatchObject({ outcome: 'aborted', code: 'too_many_stages', stages: 3 });
    expect(fakes.log.slice(-2).sort()).toEqual(['drop mig-1', 'release resume epoch 1']);
    expect(fakes.log.some((line) => line.includes('last') || line.includes('hand over'))).toBe(false);
  });

  it('finds a hand-over committed whose answer was lost', async () => {
    let committed = false;
    const fakes: Fakes = {
      log: [],
      async handOver() {
        committed = true;
        await new Promise(() => {});
        return {};
      },
      outcome: () => (committed ? { outcome: 'committed' } : { outcome: 'refused', epoch: 1 }),
    };
    serveMigration(fakes);
    expect(await migrate()).toMatchObject({ outcome: 'committed', code: '' });
    expect(fakes.log.slice(-2)).toEqual(['final question', 'release committed epoch 1']);
  });

  it('aborts when the lost hand-over was not carried out, after a question that makes it final', async () => {
    const fakes: Fakes = { log: [], handOver: () => new Promise(() => {}) };
    serveMigration(fakes);
    expect(await migrate()).toMatchObject({ outcome: 'aborted' });
    expect(fakes.log).toContain('final question');
    expect(fakes.log.slice(-2).sort()).toEqual(['drop mig-1', 'release resume epoch 1']);
  });

  it('takes a gateway for gone only after many tries, and then lets the source go on', async () => {
    const fakes: Fakes = { log: [] };
    serveMigration(fakes);
    expect(await migrate({ gatewayId: 'gateway-9' })).toMatchObject({ outcome: 'aborted', code: 'unreachable' });
    expect(fakes.log.slice(-2).sort()).toEqual(['drop mig-1', 'release resume epoch 1']);
  });

  it('does not hand over after the pause lease', async () => {
    const fakes: Fakes = { log: [] };
    serveMigration(fakes);
    expect(await migrate({ pauseLeaseMs: 10 })).toMatchObject({ outcome: 'aborted', code: 'deadline_exceeded' });
    expect(fakes.log.some((line) => line.startsWith('hand over'))).toBe(false);
  });
});

describe('drain', () => {
  function view(sequences: readonly string[], cordoned: boolean): Omit<FleetView, 'meta'> {
    const empty = FleetViewCodec.decode(new Uint8Array());
    const instance = (instanceId: string, ids: readonly string[], isCordoned: boolean) =>
      ({
        status: { instanceId, pool: 'chat', accepting: true, sequences: ids.map((requestId) => ({ requestId })) },
        health: 'healthy',
        stale: false,
        cordoned: isCordoned,
        cordonReason: isCordoned ? 'drain' : 'none',
        receivedAtMs: world.clock.now(),
      }) as unknown as FleetView['instances'][number];
    return { ...empty, atMs: world.clock.now() - 1, instances: [instance('a', sequences, cordoned), instance('b', [], false)] };
  }

  it('cordons, asks the coordinator for every move, and ends when the instance is seen empty', async () => {
    const present = new Set(['req-1', 'req-2', 'req-3']);
    const log: string[] = [];
    let cordoned = false;
    serveMigration({ log: [] });
    const { workflows } = world.ports('coordinator-1');
    outside.serve(contracts.getFleet, [], () => view([...present], cordoned));
    outside.serve(contracts.cordon, [], (command) => {
      cordoned = command.cordoned;
      log.push(`cordon ${command.instanceId} ${command.reason}`);
      return {};
    });
    outside.serve(contracts.moveRequest, [], async ({ requestId, reason, requestedBy }) => {
      log.push(`move ${requestId} ${reason} ${requestedBy}`);
      const id = `mig-${requestId}`;
      await workflows.start('migrateRequest', id, plan({ migrationId: id, requestId, mode: 'recompute' }));
      present.delete(requestId);
      return { workflowId: id };
    });
    const drain = {
      drainId: 'drain-1',
      instanceId: 'a',
      pool: 'chat',
      reason: 'drain',
      requestedBy: 'ada',
      withinMs: 60_000,
      approval: null,
    } as const;
    await workflows.start('drainInstance', 'drain-1', drain);
    expect(await answered(workflows.result('drainInstance', 'drain-1'))).toEqual({ outcome: 'empty', code: '', moved: 3, failedMoves: 0, left: 0 });
    expect(log).toEqual(['cordon a drain', 'move req-1 drain ada', 'move req-2 drain ada', 'move req-3 drain ada']);
  });

  it('refuses one that has become the last of its pool and was not approved', async () => {
    const { workflows } = world.ports('coordinator-1');
    outside.serve(contracts.getFleet, [], () => ({ ...view([], false), instances: view([], false).instances.slice(0, 1) }));
    const drain = {
      drainId: 'drain-1',
      instanceId: 'a',
      pool: 'chat',
      reason: 'drain',
      requestedBy: 'ada',
      withinMs: 60_000,
      approval: null,
    } as const;
    await workflows.start('drainInstance', 'drain-1', drain);
    expect(await answered(workflows.result('drainInstance', 'drain-1'))).toMatchObject({ outcome: 'refused', code: 'approval_required' });
  });
});

describe('votes', () => {
  const pinned = pinPayload({ to: 1 });
  let audit: AuditEvent[];

  beforeEach(async () => {
    audit = [];
    outside.subscribe(contracts.audit, [], (event) => void audit.push(event));
    const nowMs = world.clock.now();
    const request: ApprovalRequest = {
      ...{ approvalId: 'approval-1', action: 'scale_in_below_floor', summary: 's', details: [], ...pinned, requestedBy: 'ada', quorum: 1 },
      ...{ requestedAtMs: nowMs, expiresAtMs: nowMs + 60_000, useWithinMs: 1_000, parentWorkflowId: '', pool: 'chat' },
    };
    await world.ports('autoscaler-1').workflows.start('approval', 'approval-1', request);
    await world.clock.advance(10);
  });

  function vote(voter: string, approvalId = 'approval-1', actionHash = pinned.actionHash): Promise<VoteReply> {
    return answered(outside.request(contracts.vote, [], { approvalId, voter, decision: 'approve', actionHash, reason: '' }, { timeoutMs: 5_000 }));
  }
  const list = async (includeEnded: boolean) =>
    (await answered(outside.request(contracts.listApprovals, [], { includeEnded }, { timeoutMs: 5_000 }))).approvals.map(({ state }) => state);
  const kinds = () => audit.map(({ kind, actor }) => `${kind} ${actor}`);

  it('are counted, written down, and seen in the list', async () => {
    expect(await list(false)).toEqual(['pending']);
    expect(await vote('bob')).toMatchObject({ refusal: null, approval: { state: 'approved' } });
    await world.clock.advance(100);
    expect(kinds()).toEqual(['approval.requested ada', 'approval.voted bob', 'approval.approved bob']);
    expect(await list(false)).toEqual(['approved']);
  });

  it('sent again because their answer was lost get the same answer, and are written down once', async () => {
    expect(await vote('bob')).toMatchObject({ refusal: null, approval: { state: 'approved' } });
    expect(await vote('bob')).toMatchObject({ refusal: null, approval: { state: 'approved', votes: [{ voter: 'bob' }] } });
    await world.clock.advance(100);
    // Its workflow has ended.
    expect(await vote('Bob')).toMatchObject({ refusal: null, approval: { state: 'approved', votes: [{ voter: 'bob' }] } });
    await world.clock.advance(100);
    expect(kinds()).toEqual(['approval.requested ada', 'approval.voted bob', 'approval.approved bob']);
  });

  it('of the requester are refused, and in the audit log when the answer comes', async () => {
    expect(await vote('Ada')).toMatchObject({ refusal: { code: 'voter_is_requester' } });
    expect(kinds()).toContain('approval.vote_refused Ada');
    expect(JSON.parse(audit.at(-1)!.detailJson)).toMatchObject({ code: 'voter_is_requester', decision: 'approve' });
  });

  it('on other bytes, too late, or on nothing are refused and written down', async () => {
    expect(await vote('bob', 'approval-1', 'other')).toMatchObject({ refusal: { code: 'hash_mismatch' } });
    expect(await vote('bob', 'approval-9')).toMatchObject({ refusal: { code: 'unknown_approval' } });
    await world.clock.advance(60_000);
    expect(await vote('bob')).toMatchObject({ refusal: { code: 'approval_expired' }, approval: { state: 'expired' } });
    expect(kinds().filter((line) => line === 'approval.vote_refused bob')).toHaveLength(3);
    expect(kinds()).toContain('approval.expired clock');
  });

  it('after the decision do not count', async () => {
    await vote('bob');
    await world.clock.advance(10);
    expect(await vote('cy')).toMatchObject({ refusal: { code: 'approval_closed' }, approval: { state: 'approved' } });
  });

  it('show an approval that was not used in time as expired', async () => {
    await vote('bob');
    await world.clock.advance(2_000);
    expect(await list(false)).toEqual([]);
    expect(await list(true)).toEqual(['expired']);
  });
});

describe('worker', () => {
  it('is ready while it hosts, and takes nothing after a drain', async () => {
    expect(running.ready()).toBe(true);
    await answered(running.drain(1_000));
    await expect(answered(outside.request(contracts.listApprovals, [], { includeEnded: false }, { timeoutMs: 500 }))).rejects.toMatchObject({
      code: 'no_responders',
    });
  });
});
