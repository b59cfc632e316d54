import { beforeEach, describe, expect, test } from 'vitest';
import { exampleServer } from '../../core/scaling/example-pool.ts';
import { announced, exampleView } from '../../core/tracking/example-fleet.ts';
import type { KnownInstance } from '../../core/tracking/fleet-view.ts';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import { every } from '../../lib/ports/clock.ts';
import { createMemoryWorld, type MemoryWorld } from '../../lib/run/memory-ports.ts';
import { killable } from '../../lib/testing/faulty-ports.ts';
import { createScriptedWorkflows, type ScriptedWorkflows } from '../../lib/workflows/scripted-workflows.ts';
import type { AuditEvent, PoolStatus, QueueStatus, ScalePlan, ScalingDecided, ScalingEnded, ScalingModeCommand } from '../../proto/gen/messages.ts';
import { QueuedClass, QueueStatus as QueueStatusCodec } from '../../proto/gen/messages.ts';
import { autoscalerSchema } from './config.ts';
import { autoscaler } from './service.ts';

let world: MemoryWorld<VirtualClock>;
let workflows: ScriptedWorkflows;
let operator: Bus;
let instances: KnownInstance[];
let trackerLives: boolean;
let published: ScalingEnded[];
let queued: { requests: number; demandBlocks: number } | undefined;
let queueEpoch: number;

const sim = { profile: 'llama-3.1-8b-h100' };
const fleet = { pools: [{ id: 'chat', models: ['llama-3.1-8b'], instances: 3, min: 1, max: 5, floor: 2, sim }] };
const calm = () => [exampleServer(1, 10), exampleServer(2, 10), exampleServer(3, 10)];
const busy = () => [exampleServer(1, 24), exampleServer(2, 24), exampleServer(3, 24)];
const idle = () => [exampleServer(1, 1, 11), exampleServer(2, 0), exampleServer(3, 0)];

beforeEach(() => {
  world = createMemoryWorld();
  workflows = createScriptedWorkflows(world.clock);
  operator = world.ports('console-1').bus;
  instances = calm();
  trackerLives = true;
  published = [];
  queued = { requests: 0, demandBlocks: 0 };
  queueEpoch = 1;
  const tracker = world.ports('instance-tracker-1').bus;
  let version = 0;
  every(world.clock, 200, () => {
    const received = instances.map((instance) => ({ ...instance, receivedAtMs: world.clock.now() }));
    if (trackerLives) tracker.publish(contracts.fleetChanged, [], announced(exampleView(received, ++version)));
  });
  const admission = world.ports('admission-1').bus;
  every(world.clock, 1_000, () => {
    if (queued) admission.publish(contracts.queueStatus, ['chat'], queueStatus(queued, ++version));
  });
});

function queueStatus(demand: NonNullable<typeof queued>, version: number): Omit<QueueStatus, 'meta'> {
  return {
    ...QueueStatusCodec.decode(new Uint8Array()),
    pool: 'chat',
    epoch: queueEpoch,
    version,
    classes: [
      { ...QueuedClass.decode(new Uint8Array()), sloClass: 'interactive', requests: 0, demandBlocks: 0 },
      { ...QueuedClass.decode(new Uint8Array()), sloClass: 'standard', ...demand },
    ],
  };
}

async function startScaler(settings: object = {}, id = 'autoscaler-1') {
  const running = await autoscaler.start(autoscalerSchema.parse({ fleet, ...settings }), { ...world.ports(id), workflows });
  await world.clock.advance(1_500);
  return running;
}

/** Time moves while the question is on its way. */
async function answered<T>(question: Promise<T>): Promise<T> {
  let result: { value: T } | { error: unknown } | undefined;
  question.then(
    (value) => (result = { value }),
    (error: unknown) => (result = { error }),
  );
  await world.clock.until(() => result !== undefined, 10_000);
  if (result && 'value' in result) return result.value;
  throw (result as unknown as { error: unknown }).error;
}

const scale = (target: number, id?: string) =>
  answered(
    operator.request(
      contracts.scalePool,
      ['chat'],
      { pool: 'chat', target, requestedBy: 'ada', note: 'lunch' },
      { timeoutMs: 5_000, ...(id ? { id } : {}) },
    ),
  );
const setMode = (mode: string) =>
  answered(
    operator.request(
      contracts.setScalingMode,
      ['chat'],
      { pool: 'chat', mode: mode as ScalingModeCommand['mode'], requestedBy: 'ada' },
      { timeoutMs: 5_000 },
    ),
  );
const status = async (): Promise<PoolStatus | undefined> =>
  (await answered(operator.gather(contracts.listPools, [], {}, { timeoutMs: 200 }))).flatMap((reply) => reply.pools)[0];
const plans = () => workflows.runs.map((run) => run.input as ScalePlan);
const decided = async () => await answered(operator.recorded<ScalingDecided>(contracts.scalingDecided, 1_000));
const audited = async () => (await answered(operator.recorded<AuditEvent>(contracts.audit, 100))).map((e) => `${e.kind} ${e.target} by ${e.actor}`);

function finish(plan: ScalePlan, outcome: Partial<ScalingEnded> = {}, report = true): void {
  const result = { outcome: 'completed' as const, code: '', started: plan.startInstanceIds, stopped: plan.stopInstanceIds, ...outcome };
  workflows.end(plan.scaleId, result);
  const ended = { scaleId: plan.scaleId, pool: plan.pool, atMs: world.clock.now(), ...result };
  published.push(ended);
  if (report) world.ports('worker-1').bus.publish(contracts.scalingEnded, [], ended);
}

describe('modes', () => {
  test('advisory, the default, decides and records, and starts nothing', async () => {
    instances = busy();
    await startScaler();
    await world.clock.advance(30_000);
    expect(plans()).toEqual([]);
    const last = (await decided()).at(-1);
    expect(last).toMatchObject({ pool: 'chat', mode: 'advisory', current: 3, proposed: 4, constrained: 4, policy: 'freeness-band' });
    expect(last?.reasons[0]).toMatch(/^freeness_low: Mean freeness is/);
    expect(await status()).toMatchObject({ current: 3, desired: 4, pending: 0, mode: 'advisory', min: 1, max: 5, floor: 2, model: 'llama-3.1-8b' });
  });
  test('decisions are recorded when they change, not at every tick', async () => {
    await startScaler();
    await world.clock.advance(60_000);
    expect((await decided()).length).toBeLessThanOrEqual(3);
  });
  test('active scales out by one and waits for what it ordered', async () => {
    instances = busy();
    await startScaler({ mode: 'active' });
    await world.clock.advance(60_000);
    expect(plans()).toMatchObject([
      { from: 3, to: 4, startInstanceIds: ['chat-4'], stopInstanceIds: [], needsApproval: false, requestedBy: 'autoscaler (freeness-band)' },
    ]);
    expect(await status()).toMatchObject({ current: 3, pending: 1, desired: 4 });
    instances = [...busy(), exampleServer(4, 0)];
    finish(plans()[0]!);
    await world.clock.advance(5_000);
    expect(await status()).toMatchObject({ current: 4, pending: 0, desired: 4 });
    expect(plans().length).toBe(1);
  });
  test('active scales in to the floor and no further', async () => {
    instances = idle();
    await startScaler({ mode: 'active' });
    await world.clock.advance(70_000);
    expect(plans()).toMatchObject([{ from: 3, to: 2, stopInstanceIds: ['chat-3'], needsApproval: false }]);
    instances = idle().slice(0, 2);
    finish(plans()[0]!);
    await world.clock.advance(300_000);
    expect(plans().length).toBe(1);
    expect((await status())?.reasons.join(' ')).toContain('Fewer than 2 need an approval.');
  });
  test('an active pool in trouble grows although its load is gone', async () => {
    instances = [];
    await startScaler({ mode: 'active' });
    await world.clock.advance(3_000);
    expect(plans()).toMatchObject([{ from: 0, to: 1, startInstanceIds: ['chat-1'] }]);
  });
  test('many migrations hold a removal back', async () => {
    instances = idle();
    await startScaler({ mode: 'active', stormMigrations: 5 });
    const worker = world.ports('worker-1').bus;
    const migrated = {
      migrationId: 'm',
      requestId: 'r',
      pool: 'chat',
      sourceInstanceId: 'a',
      targetInstanceId: 'b',
      outcome: 'committed' as const,
      code: '',
      reason: 'imbalance' as const,
      mode: 'copy' as const,
    };
    const cancel = every(world.clock, 1_000, () =>
      worker.publish(contracts.migrationEnded, [], { ...migrated, stages: 1, blocks: 1, bytes: 1, downtimeMs: 1, totalMs: 1, atMs: 1 }),
    );
    await world.clock.advance(90_000);
    expect(plans()).toEqual([]);
    cancel();
    await world.clock.advance(15_000);
    expect(plans().length).toBe(1);
  });
  test('nothing happens without a tracker', async () => {
    instances = busy();
    await startScaler({ mode: 'active' });
    trackerLives = false;
    await world.clock.advance(60_000);
    expect(plans()).toEqual([]);
    expect((await decided()).at(-1)?.reasons.join(' ')).toContain('hold_stale_view');
  });
  test('a mode that an operator sets holds over restarts', async () => {
    const first = await startScaler();
    expect((await setMode('active')).refusal ?? null).toBeNull();
    expect(await status()).toMatchObject({ mode: 'active' });
    expect(await audited()).toEqual(['scaling_mode.set chat by ada']);
    await answered(first.drain(0));
    await startScaler({}, 'autoscaler-2');
    expect(await status()).toMatchObject({ mode: 'active' });
  });
  test('an unknown mode is refused', async () => {
    await startScaler();
    expect((await setMode('sometimes')).refusal?.code).toBe('invalid_request');
  });
});

describe('demand that waits at admission', () => {
  test('counts as demand: instances that look well while the queue is long are too few', async () => {
    queued = { requests: 40, demandBlocks: 1_600 };
    await startScaler({ mode: 'active' });
    await world.clock.advance(15_000);
    expect(plans()).toMatchObject([{ from: 3, to: 4 }]);
    expect(plans()[0]?.reasons[0]).toBe('Mean freeness is 46 steps, with 40 waiting at admission; the band is 160 to 960.');
  });
  test('wakes an empty pool, which otherwise stays empty', async () => {
    instances = [];
    const bare = { pools: [{ ...fleet.pools[0]!, min: 0, floor: 0 }] };
    await startScaler({ mode: 'active', fleet: bare });
    await world.clock.advance(60_000);
    expect(plans()).toEqual([]);
    queued = { requests: 1, demandBlocks: 0 };
    await world.clock.advance(15_000);
    expect(plans()).toMatchObject([{ from: 0, to: 1, startInstanceIds: ['chat-1'] }]);
  });
  test('that nobody reports holds removals back, not growth', async () => {
    queued = undefined;
    instances = idle();
    await startScaler({ mode: 'active' });
    await world.clock.advance(90_000);
    expect(plans()).toEqual([]);
    expect((await decided()).at(-1)?.reasons.join(' ')).toContain('hold_queue_unknown');
    instances = busy();
    await world.clock.advance(15_000);
    expect(plans()).toMatchObject([{ from: 3, to: 4 }]);
  });
  test('is taken from the newest owner of the queue; after a silence from whoever speaks', async () => {
    queueEpoch = 7;
    await startScaler({ mode: 'active' });
    queued = { requests: 40, demandBlocks: 1_600 };
    queueEpoch = 6;
    await world.clock.advance(20_000);
    expect(plans().length).toBe(1);
  });
});

describe('changed settings', () => {
  test('are taken while it runs: band, range, and pools that come and go', async () => {
    const running = await startScaler({ mode: 'active' });
    await world.clock.advance(30_000);
    expect(plans()).toEqual([]);
    const wider = {
      pools: [
        { ...fleet.pools[0]!, max: 9 },
        { ...fleet.pools[0]!, id: 'large', models: ['llama-70b'], min: 0 },
      ],
    };
    running.reconfigure!(autoscalerSchema.parse({ fleet: wider, lowSteps: 1_000, highSteps: 2_000, removalSteps: 1_500, upWindowMs: 2_000 }));
    await world.clock.advance(5_000);
    expect(plans()).toMatchObject([{ pool: 'chat', from: 3, to: 4 }]);
    expect(await status()).toMatchObject({ pool: 'chat', max: 9 });
    expect(running.owns().length).toBe(2);
    running.reconfigure!(autoscalerSchema.parse({ fleet: { pools: [wider.pools[1]] } }));
    await world.clock.advance(1_000);
    expect(running.owns()).toEqual([expect.stringMatching(/^scaler\/large@/)]);
    expect(await status()).toMatchObject({ pool: 'large' });
    expect(world.telemetry.logs.filter((line) => line.level === 'error')).toEqual([]);
  });
});

describe('manual sizes', () => {
  function loseTemporal(): void {
    workflows.away = true;
  }
  function silence(): Promise<void> {
    trackerLives = false;
    return world.clock.advance(3_000);
  }

  test('start a plan and say so in the audit log', async () => {
    await startScaler();
    expect(await scale(5, 'command-1')).toMatchObject({ refusal: null, workflowId: 'scale-chat-command1', approvalId: '', from: 3, to: 5 });
    expect(plans()).toMatchObject([{ startInstanceIds: ['chat-4', 'chat-5'], requestedBy: 'ada', reasons: ['ada asked for 5 instances: lunch.'] }]);
    expect(await scale(5, 'command-1')).toMatchObject({ workflowId: 'scale-chat-command1' });
    expect(plans().length).toBe(1);
    expect(await audited()).toEqual(['scale.requested chat by ada']);
  });
  test('below the floor wait for an approval; refused, the pool is as before', async () => {
    await startScaler();
    const reply = await scale(1);
    expect(reply).toMatchObject({ approvalId: `approval-${reply.workflowId}`, from: 3, to: 1 });
    expect(plans()[0]).toMatchObject({ needsApproval: true, stopInstanceIds: ['chat-3', 'chat-2'] });
    finish(plans()[0]!, { outcome: 'refused', code: 'approval_rejected', started: [], stopped: [] });
    await world.clock.advance(500);
    expect(await status()).toMatchObject({ current: 3, desired: 3 });
    expect((await scale(2)).refusal).toBeNull();
  });
  test('that are there already change nothing', async () => {
    await startScaler();
    expect(await scale(3)).toMatchObject({ refusal: null, workflowId: '', from: 3, to: 3 });
    expect(plans()).toEqual([]);
  });
  test.each<[string, number, () => unknown, string]>([
    ['too large', 6, () => {}, 'out_of_range'],
    ['too small', 0, () => {}, 'out_of_range'],
    ['while another change runs', 5, () => scale(4), 'scaling_in_progress'],
    ['without Temporal', 4, loseTemporal, 'workflows_unavailable'],
    ['without a tracker', 4, silence, 'stale_view'],
  ])('%s are refused and audited', async (_name, target, arrange, code) => {
    await startScaler();
    await arrange();
    expect((await scale(target)).refusal?.code).toBe(code);
    expect((await audited()).at(-1)).toBe('scale.refused chat by ada');
  });
  test('a start that never happened is forgotten after a look', async () => {
    await startScaler();
    workflows.away = true;
    await scale(4);
    workflows.away = false;
    expect((await scale(4)).refusal?.code).toBe('scaling_in_progress');
    await world.clock.advance(6_000);
    expect((await scale(4)).refusal).toBeNull();
  });
  test('an end that nobody reported is found out', async () => {
    await startScaler();
    await scale(4);
    finish(plans()[0]!, {}, false);
    await world.clock.advance(6_000);
    expect((await scale(5)).refusal).toBeNull();
  });
});

describe('take-over', () => {
  test('a successor knows the plan that runs and its pending capacity', async () => {
    instances = busy();
    const first = await startScaler({ mode: 'active' });
    await world.clock.advance(15_000);
    expect(plans().length).toBe(1);
    const { epoch } = (await status())!;
    await answered(first.drain(0));
    const second = await startScaler({ mode: 'active' }, 'autoscaler-2');
    const after = (await status())!.epoch;
    expect(after).toBeGreaterThan(epoch);
    expect(second.owns()).toEqual([`scaler/chat@${after}`]);
    await world.clock.advance(60_000);
    expect(plans().length).toBe(1);
    expect(await status()).toMatchObject({ pending: 1, desired: 4 });
    finish(plans()[0]!, { outcome: 'failed', code: 'no_launcher', started: [] });
    await world.clock.advance(15_000);
    expect(plans()[1]).toMatchObject({ epoch: after, startInstanceIds: ['chat-4'] });
  });
  test.each([
    ['before its workflow started', false],
    ['before it heard that its workflow had started', true],
  ])('a scaler killed after it saved a plan, %s, leaves nothing half-done', async (_name, started) => {
    instances = busy();
    const first = killable(world.ports('autoscaler-1'));
    const dying: typeof workflows.start = async (...input) => {
      if (started) await workflows.start(...input);
      first.kill('crash');
      return new Promise<boolean>(() => {});
    };
    const config = autoscalerSchema.parse({ fleet, mode: 'active' });
    await autoscaler.start(config, { ...first.ports, workflows: { ...workflows, start: dying } });
    await autoscaler.start(config, { ...world.ports('autoscaler-2'), workflows });
    await world.clock.advance(60_000);
    // Either the plan that runs is known and waited for, or it was forgotten and decided anew.
    expect(plans().length).toBe(1);
    expect(await status()).toMatchObject({ pending: 1, desired: 4 });
    expect(plans()[0]?.startInstanceIds).toEqual(['chat-4']);
    expect(plans()[0]!.epoch < (await status())!.epoch).toBe(started);
    instances = [...busy(), exampleServer(4, 0)];
    finish(plans()[0]!);
    await world.clock.advance(5_000);
    expect(await status()).toMatchObject({ current: 4, pending: 0, desired: 4 });
    expect(plans().length).toBe(1);
  });
  test('a start that takes long is not taken for one that never happened', async () => {
    await startScaler();
    workflows.startDelayMs = 8_000;
    void operator
      .request(contracts.scalePool, ['chat'], { pool: 'chat', target: 4, requestedBy: 'ada', note: '' }, { timeoutMs: 1_000 })
      .catch(() => {});
    await world.clock.advance(7_000);
    expect((await scale(5)).refusal?.code).toBe('scaling_in_progress');
    await world.clock.advance(7_000);
    expect(plans().length).toBe(1);
  });
  test('an end that came while nobody owned the pool is found out', async () => {
    const first = await startScaler();
    await scale(4);
    await answered(first.drain(0));
    finish(plans()[0]!);
    await startScaler({}, 'autoscaler-2');
    await world.clock.advance(500);
    expect((await scale(5)).refusal).toBeNull();
  });
  test('one scaler at a time decides', async () => {
    instances = busy();
    await startScaler({ mode: 'active' });
    const second = await startScaler({ mode: 'active' }, 'autoscaler-2');
    await world.clock.advance(30_000);
    expect(second.owns()).toEqual([]);
    expect(plans().length).toBe(1);
  });
  test('an owner that was overtaken cannot start what it plans', async () => {
    await startScaler();
    await world.store.saveSnapshot('scaler/chat', 1e6, new TextEncoder().encode('{}'));
    expect((await scale(4)).refusal?.code).toBe('store_unavailable');
    expect(plans()).toEqual([]);
  });
});

test.each([
  ['band', { lowSteps: 1_000 }],
  ['removal', { removalSteps: 100 }],
  ['mode', { mode: 'sometimes' }],
  ['key', { typo: 1 }],
])('a configuration with a wrong %s is refused', (_name, settings) => {
  expect(autoscalerSchema.safeParse({ fleet, ...settings }).success).toBe(false);
});
