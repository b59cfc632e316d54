import { beforeEach, describe, expect, test } from 'vitest';
import { pinPayload } from '../../core/approval/pin.ts';
import { drainPayload } from '../../core/approval/requests.ts';
import { announced, exampleInstance, exampleSequence, exampleView } from '../../core/tracking/example-fleet.ts';
import type { KnownInstance } from '../../core/tracking/fleet-view.ts';
import type { DrainPlan } from '../../core/workflows/catalogue.ts';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import { every } from '../../lib/ports/clock.ts';
import { createMemoryWorld, type MemoryWorld } from '../../lib/run/memory-ports.ts';
import { killable } from '../../lib/testing/faulty-ports.ts';
import { createScriptedWorkflows, type ScriptedWorkflows } from '../../lib/workflows/scripted-workflows.ts';
import type { AuditEvent, CordonCommand, MigrationPlan, MoveCommand, SequenceStatus } from '../../proto/gen/messages.ts';
import { migrationCoordinatorSchema } from './config.ts';
import { endedFrom } from './effects.ts';
import { migrationCoordinator } from './service.ts';

let world: MemoryWorld<VirtualClock>;
let workflows: ScriptedWorkflows;
let operator: Bus;
let instances: KnownInstance[];
let cordons: CordonCommand[];
let trackerLives: boolean;

const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
const crowd = (count: number, tokens: number) =>
  Array.from({ length: count }, (_, i) => exampleSequence({ requestId: `r${i}`, promptTokens: tokens, maxOutputTokens: 10_000, traceparent }));
const full = () => exampleInstance({ instanceId: 'chat-1', sequences: crowd(20, 752) });
const two = (fields = {}, view = {}) => exampleInstance({ instanceId: 'chat-2', ...fields }, view);

beforeEach(() => {
  world = createMemoryWorld();
  workflows = createScriptedWorkflows(world.clock);
  operator = world.ports('console-1').bus;
  instances = [exampleInstance({ instanceId: 'chat-1', sequences: crowd(3, 160) }), two()];
  cordons = [];
  trackerLives = true;
  const tracker = world.ports('instance-tracker-1').bus;
  let version = 0;
  every(world.clock, 100, () => {
    const received = instances.map((instance) => ({ ...instance, receivedAtMs: world.clock.now() }));
    if (trackerLives) tracker.publish(contracts.fleetChanged, [], announced(exampleView(received, ++version)));
  });
  tracker.serve(contracts.cordon, [], (command) => {
    cordons.push(command);
    return {};
  });
});

async function startCoordinator(id = 'migration-coordinator-1', settings: object = { mode: 'off' }) {
  const running = await migrationCoordinator.start(migrationCoordinatorSchema.parse(settings), { ...world.ports(id), workflows });
  await world.clock.advance(1_500);
  return running;
}

/** Time moves while the question is on its way. */
async function answered<T>(question: Promise<T>, withinMs = 10_000): Promise<T> {
  let result: { value: T } | { error: unknown } | undefined;
  question.then(
    (value) => (result = { value }),
    (error: unknown) => (result = { error }),
  );
  await world.clock.until(() => result !== undefined, withinMs);
  if (result && 'value' in result) return result.value;
  throw (result as unknown as { error: unknown }).error;
}

const move = (fields: Partial<MoveCommand> = {}, id?: string) =>
  answered(
    operator.request(
      contracts.moveRequest,
      [],
      { requestId: 'r0', targetInstanceId: '', requestedBy: 'ada', reason: 'operator', ...fields },
      { timeoutMs: 5_000, ...(id ? { id } : {}) },
    ),
  );
const askDrain = (instanceId: string, id?: string) =>
  operator.request(
    contracts.drainInstance,
    [],
    { instanceId, requestedBy: 'ada', withinMs: 0, note: 'bad fan' },
    { timeoutMs: 5_000, ...(id ? { id } : {}) },
  );
const drain = (instanceId: string, id?: string) => answered(askDrain(instanceId, id));
const undrain = (instanceId: string) =>
  answered(operator.request(contracts.undrainInstance, [], { instanceId, requestedBy: 'ada' }, { timeoutMs: 5_000 }));
const list = () => answered(operator.request(contracts.listMigrations, [], {}, { timeoutMs: 5_000 }));
const audited = async () => (await answered(operator.recorded<AuditEvent>(contracts.audit, 100))).map((e) => `${e.kind} ${e.target} by ${e.actor}`);
const plans = () => workflows.runs.filter((run) => run.name === 'migrateRequest').map((run) => run.input as MigrationPlan);
const outcome = (fields = {}) => ({
  outcome: 'committed' as const,
  code: '',
  stages: 2,
  blocks: 48,
  bytes: 9e5,
  downtimeMs: 12,
  totalMs: 200,
  ...fields,
});

function report(plan: MigrationPlan, fields = {}): void {
  workflows.end(plan.migrationId, outcome(fields));
  world.ports('worker-1').bus.publish(contracts.migrationEnded, [], endedFrom(plan, outcome(fields), world.clock.now()));
}

describe('rebalancing', () => {
  beforeEach(() => {
    instances = [full(), two()];
  });

  test('starts workflows in the trace of the request and follows them to their end', async () => {
    await startCoordinator('migration-coordinator-1', {});
    const [first] = plans();
    expect(first).toMatchObject({ sourceInstanceId: 'chat-1', targetInstanceId: 'chat-2', reason: 'imbalance', fromEpoch: 1, toEpoch: 2 });
    const span = world.telemetry.spans.find((each) => each.name === 'migrate');
    expect(span).toMatchObject({ traceId: 'a'.repeat(32), parentSpanId: 'b'.repeat(16), endMs: undefined });
    report(first!);
    await world.clock.advance(50);
    expect(span).toMatchObject({ attributes: { 'switchyard.outcome': 'committed', 'switchyard.downtime_ms': 12 }, failed: undefined });
    expect(span?.endMs).toBeDefined();
    expect(await list()).toMatchObject({ committed: 1, aborted: 0, recent: [{ migrationId: first?.migrationId }] });
  });
  test('runs no more at a time than the limit per instance, and leaves a moved request alone', async () => {
    await startCoordinator('migration-coordinator-1', {});
    await world.clock.advance(3_000);
    expect(plans().length).toBe(2);
    for (const plan of plans()) report(plan, { outcome: 'aborted', code: 'target_full', totalMs: 4_000 });
    await world.clock.advance(1_000);
    const moved = plans().map((plan) => plan.requestId);
    expect(moved.length).toBe(4);
    expect(new Set(moved).size).toBe(4);
  });
  test.each(['off', 'advisory'])('in mode %s it starts nothing', async (mode) => {
    await startCoordinator('migration-coordinator-1', { mode });
    await world.clock.advance(2_000);
    expect(plans()).toEqual([]);
    expect(world.telemetry.logs.filter((line) => line.message === 'rebalancing would move').length).toBe(mode === 'advisory' ? 1 : 0);
  });
  test('holds back while Temporal is slow, counts what it did not start, and tries again later', async () => {
    await startCoordinator('migration-coordinator-1', {});
    await world.clock.advance(4_000);
    for (const plan of plans()) report(plan, { totalMs: 100 });
    await world.clock.advance(2_000);
    expect(plans().length).toBe(2);
    expect((await list()).heldBack).toBeGreaterThan(3);
    expect(
      world.telemetryOf('migration-coordinator-1').value('switchyard_migrations_held_back_total', { pool: 'chat', cause: 'slow' }),
    ).toBeGreaterThan(3);
    await world.clock.advance(30_000);
    expect(plans().length).toBeGreaterThan(2);
  });
  test('plans nothing from an old view', async () => {
    await startCoordinator('migration-coordinator-1', { maxPerInstance: 64 });
    trackerLives = false;
    await world.clock.advance(2_600);
    const before = plans().length;
    await world.clock.advance(5_000);
    expect(plans().length).toBe(before);
  });
});

describe('changed settings', () => {
  test('are taken while it runs', async () => {
    instances = [full(), two()];
    const running = await startCoordinator('migration-coordinator-1', { mode: 'off' });
    await world.clock.advance(2_000);
    expect(plans()).toEqual([]);
    running.reconfigure!(migrationCoordinatorSchema.parse({ mode: 'active', periodMs: 1_000, maxStages: 5, checkAfterMs: 500 }));
    await world.clock.advance(900);
    expect(plans()).toEqual([]);
    await world.clock.advance(200);
    expect(plans()).toMatchObject([{ maxStages: 5 }]);
    workflows.end(plans()[0]!.migrationId, outcome());
    await world.clock.advance(1_000);
    expect((await list()).committed).toBe(1);
  });
});

describe('moves on request', () => {
  test('answer with the plan of a started workflow, recorded in the audit log', async () => {
    await startCoordinator();
    const reply = await move();
    expect(reply).toMatchObject({
      refusal: null,
      workflowId: plans()[0]?.migrationId,
      plan: { requestId: 'r0', targetInstanceId: 'chat-2', requestedBy: 'ada' },
    });
    expect((await list()).active).toMatchObject([{ requestId: 'r0' }]);
    expect(await audited()).toEqual(['migration.requested r0 by ada']);
  });
  test('a repeated command starts nothing twice; another one learns what is under way', async () => {
    await startCoordinator();
    const first = await move({}, 'command-1');
    expect(await move({}, 'command-1')).toMatchObject({ workflowId: first.workflowId, refusal: null });
    expect(await move({}, 'command-2')).toMatchObject({ workflowId: first.workflowId, refusal: { code: 'already_moving' } });
    expect(plans().length).toBe(1);
  });
  test.each([
    ['an unknown request', { requestId: 'r9' }, 'unknown_request'],
    ['an unknown target', { targetInstanceId: 'chat-9' }, 'unknown_instance'],
    ['its own instance', { targetInstanceId: 'chat-1' }, 'invalid_request'],
  ])('%s is refused and audited', async (_name, fields, code) => {
    await startCoordinator();
    expect((await move(fields)).refusal?.code).toBe(code);
    expect(plans()).toEqual([]);
    expect((await audited())[0]).toContain('migration.refused');
  });
  test('of commands that come together for one request one moves it', async () => {
    await startCoordinator();
    const question = { requestId: 'r0', targetInstanceId: '', requestedBy: 'ada', reason: 'operator' as const };
    const asked = Array.from({ length: 3 }, () => operator.request(contracts.moveRequest, [], question, { timeoutMs: 5_000 }));
    const codes = (await answered(Promise.all(asked))).map((reply) => reply.refusal?.code);
    expect(codes.sort()).toEqual(['already_moving', 'already_moving', undefined]);
    expect(plans().length).toBe(1);
  });
  test('a request whose first report is still on its way is found', async () => {
    instances = [exampleInstance({ instanceId: 'chat-1' }), two()];
    await startCoordinator();
    world.clock.after(300, () => (instances = [exampleInstance({ instanceId: 'chat-1', sequences: crowd(1, 160) }), two()]));
    expect(await move()).toMatchObject({ refusal: null, plan: { requestId: 'r0' } });
  });
  test('a request that decodes by now, but not in the last report, moves with its KV', async () => {
    const inState = (state: SequenceStatus['state']) => [
      exampleInstance({ instanceId: 'chat-1', sequences: [{ ...crowd(1, 160)[0]!, state }] }),
      two(),
    ];
    instances = inState('prefill');
    await startCoordinator();
    world.clock.after(300, () => (instances = inState('decode')));
    expect(await move()).toMatchObject({ refusal: null, plan: { mode: 'copy' } });
  });
  test('a request that stays in prefill for a second is computed again at its target', async () => {
    instances = [exampleInstance({ instanceId: 'chat-1', sequences: [{ ...crowd(1, 160)[0]!, state: 'prefill' }] }), two()];
    await startCoordinator();
    const beganMs = world.clock.now();
    expect(await move()).toMatchObject({ refusal: null, plan: { mode: 'recompute' } });
    expect(world.clock.now() - beganMs).toBeLessThan(1_100);
  });
  test('an unknown request is not waited for longer than a second, nor longer than the asker waits', async () => {
    await startCoordinator();
    const waited = async (timeoutMs: number) => {
      const beganMs = world.clock.now();
      const question = { requestId: 'r9', targetInstanceId: '', requestedBy: 'ada', reason: 'operator' as const };
      const { refusal } = await answered(operator.request(contracts.moveRequest, [], question, { timeoutMs }));
      return [refusal?.code, world.clock.now() - beganMs];
    };
    expect(await waited(5_000)).toEqual(['unknown_request', expect.toSatisfy((ms) => ms >= 900 && ms <= 1_050)]);
    expect(await waited(600)).toEqual(['unknown_request', expect.toSatisfy((ms) => ms <= 450)]);
  });
  test('a drain does not wait for what it does not find: mostly it has ended', async () => {
    await startCoordinator();
    const beganMs = world.clock.now();
    expect((await move({ requestId: 'r9', reason: 'drain' })).refusal?.code).toBe('unknown_request');
    expect(world.clock.now() - beganMs).toBeLessThan(50);
  });
  test('a request that has just been moved moves on as soon as it is reported, under its new epoch', async () => {
    await startCoordinator();
    await move();
    report(plans()[0]!);
    world.clock.after(250, () => {
      const [r0, ...others] = crowd(3, 160);
      instances = [exampleInstance({ instanceId: 'chat-1', sequences: others }), two({ sequences: [{ ...r0!, epoch: 2 }] })];
    });
    await world.clock.advance(20);
    expect(await move()).toMatchObject({ refusal: null, plan: { sourceInstanceId: 'chat-2', fromEpoch: 2, toEpoch: 3 } });
  });
  test('moves of a drain are not operator commands', async () => {
    await startCoordinator();
    await move({ reason: 'drain', requestedBy: 'drain-chat-1-x' });
    expect(await audited()).toEqual([]);
  });
  test('an old view is refused', async () => {
    await startCoordinator();
    trackerLives = false;
    await world.clock.advance(3_000);
    expect((await move()).refusal).toMatchObject({ code: 'stale_view', retryable: true });
  });
  test('when Temporal is away the refusal says so, and what never ran is counted', async () => {
    await startCoordinator();
    workflows.away = true;
    expect((await move()).refusal?.code).toBe('workflows_unavailable');
    expect((await list()).active.length).toBe(1);
    workflows.away = false;
    await world.clock.advance(6_000);
    expect(await list()).toMatchObject({ active: [], heldBack: 1 });
    expect((await move()).refusal).toBeNull();
  });
  test('an end that nobody reported is found out', async () => {
    await startCoordinator();
    await move();
    workflows.end(plans()[0]!.migrationId, outcome({ outcome: 'aborted', code: 'sequence_finished' }));
    await world.clock.advance(6_000);
    expect(await list()).toMatchObject({ active: [], aborted: 1, recent: [{ code: 'sequence_finished', requestId: 'r0' }] });
  });
  test('a workflow that failed counts as aborted', async () => {
    await startCoordinator();
    await move();
    workflows.end(plans()[0]!.migrationId, undefined, 'terminated');
    await world.clock.advance(6_000);
    expect((await list()).recent).toMatchObject([{ outcome: 'aborted', code: 'workflow_failed' }]);
  });
});

describe('draining', () => {
  test('starts one workflow per instance, whoever asks and how often', async () => {
    await startCoordinator();
    const first = await drain('chat-1', 'command-abc');
    expect(first).toMatchObject({ refusal: null, approvalId: '', workflowId: 'drain-chat-1-commandabc' });
    expect(await drain('chat-1', 'command-abc')).toMatchObject({ workflowId: first.workflowId });
    expect(await drain('chat-1')).toMatchObject({ workflowId: first.workflowId, refusal: null });
    expect(workflows.runs.map((run) => run.input)).toMatchObject([
      { instanceId: 'chat-1', pool: 'chat', reason: 'drain', withinMs: 600_000, approval: null },
    ]);
    expect((await audited())[0]).toBe('drain.requested chat-1 by ada');
  });
  test('the last instance of a pool needs an approval that pins the plan', async () => {
    instances = [exampleInstance({ instanceId: 'chat-1', sequences: crowd(3, 160) }), two({}, { cordoned: true, cordonReason: 'operator' })];
    await startCoordinator();
    const { workflowId, approvalId } = await drain('chat-1');
    expect(approvalId).toBe(`approval-${workflowId}`);
    const plan = workflows.runs[0]?.input as DrainPlan;
    expect(plan.approval).toMatchObject({
      ...pinPayload(drainPayload(plan)),
      action: 'drain_last_instance',
      requestedBy: 'ada',
      quorum: 1,
      pool: 'chat',
      parentWorkflowId: workflowId,
    });
    expect(plan.approval?.details.join(' ')).toMatch(/serves 3 requests.*undrain chat-1.*bad fan/);
    workflows.add('approval', approvalId);
    expect(await drain('chat-1')).toMatchObject({ workflowId, approvalId });
  });
  test.each([
    ['an unknown instance', () => {}, 'chat-9', 'unknown_instance'],
    ['a dead instance', () => (instances = [full(), two({}, { health: 'dead' })]), 'chat-2', 'not_movable'],
    [
      'an instance that scale-in empties',
      () => (instances = [full(), two({}, { cordoned: true, cordonReason: 'scale_in' })]),
      'chat-2',
      'scaling_in_progress',
    ],
    ['without Temporal', () => (workflows.away = true), 'chat-1', 'workflows_unavailable'],
  ])('%s is refused and audited', async (_name, arrange, instanceId, code) => {
    await startCoordinator();
    arrange();
    await world.clock.advance(300);
    expect((await drain(instanceId)).refusal?.code).toBe(code);
    expect((await audited())[0]).toContain('drain.refused');
  });
  test('an instance that has just started is found', async () => {
    await startCoordinator();
    world.clock.after(300, () => (instances = [...instances, exampleInstance({ instanceId: 'chat-3' })]));
    expect((await drain('chat-3')).refusal).toBeNull();
  });
  test('of two instances drained at the same time the second is the last one, although neither is cordoned yet', async () => {
    await startCoordinator();
    const [first, second] = await answered(Promise.all([askDrain('chat-1'), askDrain('chat-2')]));
    expect(first.approvalId).toBe('');
    expect(second.approvalId).toBe(`approval-${second.workflowId}`);
  });
  test('two commands for one instance at the same time start one drain', async () => {
    await startCoordinator();
    const [first, second] = await answered(Promise.all([askDrain('chat-1'), askDrain('chat-1')]));
    expect(second.workflowId).toBe(first.workflowId);
    expect(workflows.runs.length).toBe(1);
  });
  test('a drain that Temporal does not list yet is found by undrain; one that has ended does not count', async () => {
    const list = workflows.list;
    workflows.list = async () => [];
    await startCoordinator();
    const { workflowId } = await drain('chat-1');
    await undrain('chat-1');
    expect(workflows.runs.find((run) => run.id === workflowId)?.status).toBe('cancelled');
    workflows.list = list;
    expect((await drain('chat-2')).approvalId).toBe('');
  });
  test('undrain cancels the drain first, then lifts the cordon', async () => {
    await startCoordinator();
    const { workflowId } = await drain('chat-1');
    expect((await undrain('chat-1')).refusal ?? null).toBeNull();
    expect(workflows.runs.find((run) => run.id === workflowId)?.status).toBe('cancelled');
    expect(cordons).toMatchObject([{ instanceId: 'chat-1', cordoned: false }]);
    expect((await undrain('chat-9')).refusal?.code).toBe('unknown_instance');
    instances = [full(), two({}, { cordoned: true, cordonReason: 'scale_in' })];
    await world.clock.advance(300);
    expect((await undrain('chat-2')).refusal?.code).toBe('scaling_in_progress');
  });
});

describe('take-over', () => {
  async function stop(running: { drain(withinMs: number): Promise<void> }): Promise<void> {
    await answered(running.drain(0));
  }
  test('a successor knows what runs, moves nothing twice, and learns the end', async () => {
    const first = await startCoordinator();
    await move();
    const before = (await list()).epoch;
    await stop(first);
    const second = await startCoordinator('migration-coordinator-2');
    const { epoch } = await list();
    expect(epoch).toBeGreaterThan(before);
    expect(second.owns()).toEqual([`coordinator@${epoch}`]);
    expect((await move()).refusal?.code).toBe('already_moving');
    report(plans()[0]!);
    await world.clock.advance(100);
    expect(await list()).toMatchObject({ active: [], committed: 1 });
    instances = [exampleInstance({ instanceId: 'chat-1' }), two({ sequences: crowd(1, 160).map((each) => ({ ...each, epoch: 2 })) })];
    expect((await move()).plan).toMatchObject({ sourceInstanceId: 'chat-2', fromEpoch: 2, coordinatorEpoch: epoch });
  });
  test('an end that came while nobody coordinated is found out', async () => {
    const first = await startCoordinator();
    await move();
    await stop(first);
    report(plans()[0]!);
    await world.clock.advance(100);
    await startCoordinator('migration-coordinator-2');
    expect(await list()).toMatchObject({ active: [], committed: 1 });
  });
  test('a migration that only Temporal knows blocks its request', async () => {
    workflows.add('migrateRequest', 'migrate-r0-2-abc');
    await startCoordinator();
    expect((await move()).refusal?.code).toBe('already_moving');
    expect((await move({ requestId: 'r1' })).refusal).toBeNull();
  });
  test.each([
    ['before its workflow started', false],
    ['before it heard that its workflow had started', true],
  ])('a coordinator killed after it saved a plan, %s: the request moves once', async (_name, started) => {
    const first = killable(world.ports('migration-coordinator-1'));
    const dying: typeof workflows.start = async (...input) => {
      if (started) await workflows.start(...input);
      first.kill('crash');
      return new Promise<boolean>(() => {});
    };
    await migrationCoordinator.start(migrationCoordinatorSchema.parse({ mode: 'off' }), {
      ...first.ports,
      workflows: { ...workflows, start: dying },
    });
    await world.clock.advance(1_500);
    await move().catch(() => {});
    await startCoordinator('migration-coordinator-2');
    await world.clock.advance(10_000);
    expect((await move()).refusal?.code).toBe(started ? 'already_moving' : undefined);
    expect(plans().length).toBe(1);
    report(plans()[0]!);
    await world.clock.advance(100);
    expect(await list()).toMatchObject({ active: [], committed: 1 });
  });
  test('without Temporal a successor plans nothing and says why', async () => {
    workflows.away = true;
    const running = await startCoordinator('migration-coordinator-1', {});
    expect(running.ready()).toMatch(/Temporal/);
    expect((await move()).refusal?.code).toBe('workflows_unavailable');
    workflows.away = false;
    await world.clock.advance(2_000);
    expect(running.ready()).toBe(true);
  });
  test('a coordinator that was overtaken cannot start what it plans', async () => {
    await startCoordinator();
    await world.store.saveSnapshot('coordinator', 1e6, new Uint8Array());
    expect((await move()).refusal?.code).toBe('store_unavailable');
    expect(plans()).toEqual([]);
    expect((await list()).active).toEqual([]);
  });
});
