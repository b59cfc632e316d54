import { describe, expect, it } from 'vitest';
import type { InstanceRow, RequestRow, StatusReport } from '../../lib/operator/types.ts';
import { MigrationPlan } from '../../proto/gen/messages.ts';
import { type Answers, type FleetPicture, fleetPicture, historyLength } from './fleet-picture.ts';
import { frame, leastColumns } from './frame.ts';

const atMs = Date.UTC(2026, 0, 2, 3, 4, 5);

function instance(id: string, given: Partial<InstanceRow> = {}): InstanceRow {
  return {
    id,
    pool: 'chat',
    model: 'llama-3.1-8b',
    engine: 'sim',
    role: 'mixed',
    pid: 1,
    agent: `agent-${id}`,
    health: 'healthy',
    stale: false,
    cordoned: false,
    cordonReason: '',
    setAside: '',
    setAsideWhy: '',
    software: '',
    capabilities: [],
    running: 4,
    queued: 0,
    totalBlocks: 100,
    freeBlocks: 50,
    reservedBlocks: 0,
    cachedBlocks: 0,
    blockTokens: 16,
    kvUsage: 0.5,
    stepMs: 12,
    tokensOut: 1000,
    preemptions: 0,
    reportAgeMs: 100,
    address: '',
    accepting: true,
    ...given,
  };
}

function request(id: string, given: Partial<RequestRow> = {}): RequestRow {
  return {
    id,
    state: 'streaming',
    instance: 'chat-1',
    epoch: 1,
    tokens: 12,
    pool: 'chat',
    model: 'llama-3.1-8b',
    sloClass: 'standard',
    ageMs: 1500,
    migrations: 1,
    failovers: 0,
    gateway: 'gateway-1',
    traceId: '',
    code: '',
    ...given,
  };
}

function answers(instances: readonly InstanceRow[], given: Partial<Answers> = {}): Answers {
  const status: StatusReport = {
    services: [],
    pools: [
      {
        pool: 'chat',
        model: 'llama-3.1-8b',
        current: instances.length,
        pending: 0,
        desired: instances.length,
        floor: 1,
        min: 1,
        max: 8,
        mode: 'advisory',
        policy: 'expert',
        meanFreenessSteps: 0,
        reasons: [],
        epoch: 1,
        decidedAtMs: 0,
      },
    ],
    instances: { total: instances.length, healthy: instances.length, cordoned: 0 },
    queues: [],
    requests: { running: 2, queued: 1 },
    migrations: { active: 0, committed: 0, aborted: 0, heldBack: 0 },
    workflowsConnected: true,
    storeConnected: true,
  };
  return {
    status,
    instances,
    requests: [request('req-a'), request('req-b', { state: 'queued', instance: '' })],
    migrations: { active: [], recent: [], committed: 7, aborted: 1, heldBack: 0 },
    ...given,
  };
}

const visible = (line: string) => [...line.replaceAll(new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, 'g'), '')].length;
const text = (picture: FleetPicture, size: { columns?: number; rows?: number; color?: boolean } = {}) =>
  frame(picture, { columns: 80, rows: 24, color: false, ...size });

describe('fleetPicture', () => {
  it('counts tokens a second since the picture before, anew where an instance has restarted', () => {
    const first = fleetPicture(answers([instance('chat-1'), instance('chat-2', { tokensOut: 900 })]), undefined, atMs);
    expect([first.tokensPerS, first.history]).toEqual([undefined, []]);
    const rows = [instance('chat-1', { tokensOut: 1100 }), instance('chat-2', { tokensOut: 40 }), instance('chat-3')];
    const second = fleetPicture(answers(rows), first, atMs + 500);
    expect(second.instances.map((row) => row.tokensPerS)).toEqual([200, 80, undefined]);
    expect([second.tokensPerS, second.history, second.pools[0]!.tokensPerS]).toEqual([280, [280], 280]);
  });

  it('keeps a bounded history', () => {
    let picture = fleetPicture(answers([instance('chat-1')]), undefined, atMs);
    for (let index = 1; index <= historyLength + 5; index++)
      picture = fleetPicture(answers([instance('chat-1', { tokensOut: 1000 + index })]), picture, atMs + index * 1000);
    expect(picture.history).toHaveLength(historyLength);
  });

  it('sorts instances as people count, and tells queued requests from running ones', () => {
    const picture = fleetPicture(answers(['chat-10', 'chat-2', 'chat-1'].map((id) => instance(id))), undefined, atMs);
    expect(picture.instances.map((row) => row.id)).toEqual(['chat-1', 'chat-2', 'chat-10']);
    expect(picture.pools[0]).toMatchObject({ running: 12, queued: 1, kvUsage: 0.5 });
    expect(picture.requests.map((row) => row.id)).toEqual(['req-a']);
  });
});

describe('frame', () => {
  it('shows pools, instances, moves and requests in 80 columns', () => {
    const plan = { ...MigrationPlan.decode(new Uint8Array()), requestId: 'req-a', sourceInstanceId: 'chat-1', targetInstanceId: 'chat-2' };
    const active = [{ ...plan, reason: 'imbalance' as const, plannedAtMs: atMs - 1200 }];
    const given = answers([instance('chat-1'), instance('chat-2', { health: 'suspect', kvUsage: 0.963, running: 11 })], {
      migrations: { active, recent: [], committed: 7, aborted: 1, heldBack: 2 },
    });
    expect(text(fleetPicture(given, undefined, atMs))).toEqual([
      'switchyard  1 of 2 instances healthy  03:04:05 UTC',
      'requests    2 running  1 queued  - tokens/s',
      'migrations  1 moving  7 moved  1 aborted  2 held back',
      '',
      'POOL        MODEL              NOW  WANT    RUN  QUEUE     KV    TOK/S  SCALING',
      'chat        llama-3.1-8b         2     2     15      1   50 %        -  advisory',
      '',
      'INSTANCE        HEALTH      RUN  WAIT  KV                       TOK/S      STEP',
      'chat-1          healthy       4     0  ███████·······   50 %        -   12.0 ms',
      'chat-2          suspect      11     0  █████████████▌   96 %        -   12.0 ms',
      '',
      'MOVING                    SOURCE        TARGET        REASON              FOR',
      'req-a                     chat-1        chat-2        imbalance         1.2 s',
      '',
      'REQUEST                   STATE       INSTANCE      TOKENS          AGE  MOVES',
      'req-a                     streaming   chat-1            12        1.5 s      1',
    ]);
  });

  it.each([leastColumns, 80, 120, 200])('no line is wider than %d columns, with colors or without', (columns) => {
    const rows = Array.from({ length: 6 }, (_, index) =>
      instance(`a-very-long-instance-name-${index}`, { running: 123456, queued: 99, kvUsage: index / 5, stepMs: 12345.6 }),
    );
    const long = answers(rows, { requests: [request('req-a-very-long-id-of-a-request-that-goes-on', { ageMs: 3.6e6 * 30 })] });
    const before = fleetPicture(long, undefined, atMs - 1000);
    const picture = fleetPicture(answers(rows.map((row) => ({ ...row, tokensOut: 9e9 }))), before, atMs);
    const trouble = { ...picture, troubles: Array.from({ length: 9 }, () => 'x'.repeat(500)) };
    for (const color of [true, false])
      for (const line of text(trouble, { columns, rows: 60, color })) expect(visible(line)).toBeLessThanOrEqual(columns);
  });

  it.each([10, 15, 24, 50])('has at most %d rows; what does not fit is said, and what needs a look comes first', (rows) => {
    const many = Array.from({ length: 100 }, (_, index) => instance(`chat-${index}`, index === 77 ? { health: 'dead' } : {}));
    const lines = text(fleetPicture(answers(many), undefined, atMs), { rows });
    expect(lines.length).toBeLessThanOrEqual(rows);
    expect(lines.find((line) => line.startsWith('chat-'))).toContain('dead');
    expect(lines.join('\n')).toMatch(/and \d+ with less to do/);
  });

  it('says what is wrong', () => {
    const given = answers([instance('chat-1', { cordoned: true }), instance('chat-2', { setAside: 'engine_unavailable' })]);
    const status = {
      ...given.status,
      workflowsConnected: false,
      services: [{ service: 'router', id: 'router-1', pid: 1, ready: false, notReadyBecause: 'no fleet view', owns: [], startedAtMs: 0 }],
    };
    const lines = text(fleetPicture({ ...given, status }, undefined, atMs)).join('\n');
    expect(lines).toContain('! router-1 is not ready: no fleet view');
    expect(lines).toContain('! Temporal is away');
    expect(lines).toContain('cordoned');
    expect(lines).toContain('set aside');
  });

  it('an empty fleet is a frame too', () => {
    const lines = text(fleetPicture(answers([], { requests: [] }), undefined, atMs));
    expect(lines.join('\n')).toContain('0 instances');
  });
});
