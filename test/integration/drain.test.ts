import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { StartedAnswer, WorkflowRow } from '../../lib/operator/types.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { connectStreams, problems } from './live-streams.ts';

const requestCount = 10;

describe('draining an instance', () => {
  let fleet: Fleet;
  beforeAll(async () => {
    fleet = await startFleet({
      pools: [
        {
          id: 'chat',
          models: ['llama-3.1-8b'],
          instances: 3,
          sim: { profile: 'llama-3.1-8b-h100', speed: 0.1, blocks: 2048, kvBytesPerToken: 512, maxRunning: 64, maxWaiting: 16 },
        },
      ],
      settings: { 'migration-coordinator': { mode: 'off' } },
    });
  });
  afterAll(() => fleet?.stop());

  it(`moves its ${requestCount} long requests without an error and leaves it empty, visibly in Temporal`, async () => {
    const operator = fleet.client('test');
    const streams = connectStreams(fleet.gatewayUrl);
    for (const instance of ['chat-2', 'chat-3']) await operator.post('/drain', { instance });
    await eventually('only chat-1 takes requests', 10_000, async () => {
      const rows = await fleet.instances();
      return { ok: rows.filter((row) => row.cordoned).length === 2, seen: rows };
    });
    const answers = Array.from({ length: requestCount }, (_, index) =>
      streams.open({ model: 'llama-3.1-8b', prompt: `Long request ${index}: ${'word '.repeat(400)}`, outputTokens: 200, sloClass: 'default' }),
    );
    await eventually('all requests run on chat-1', 20_000, async () => {
      const rows = (await fleet.requests()).filter((row) => row.instance === 'chat-1' && row.state === 'streaming' && row.tokens > 3);
      return { ok: rows.length === requestCount, seen: rows.length };
    });
    for (const instance of ['chat-2', 'chat-3']) await operator.post('/undrain', { instance });
    await eventually('the others take requests again', 10_000, async () => {
      const rows = await fleet.instances();
      return { ok: rows.every((row) => !row.cordoned), seen: rows };
    });

    const { workflowId } = await operator.post<StartedAnswer>('/drain', { instance: 'chat-1' });
    let ended: WorkflowRow | undefined;
    await eventually('the drain ends', 60_000, async () => {
      ended = await operator.get<WorkflowRow>(`/workflows/${workflowId}`);
      return { ok: ended.status !== 'running', seen: ended };
    });
    expect(ended?.result).toMatchObject({ outcome: 'empty', moved: requestCount, left: 0 });
    const drained = (await fleet.instances()).find((row) => row.id === 'chat-1');
    expect(drained).toMatchObject({ running: 0, queued: 0, cordoned: true });

    const results = await Promise.all(answers);
    expect(problems(results)).toEqual([]);
    const rows = (await fleet.requests(true)).filter((row) => results.some((result) => result.requestId === row.id));
    expect(rows.map((row) => row.migrations)).toEqual(results.map(() => 1));

    const connection = await Connection.connect({ address: fleet.temporalAddress });
    const history = await new Client({ connection }).workflow.getHandle(workflowId).fetchHistory();
    expect(history.events?.length ?? 0).toBeGreaterThan(5);
    const moves: string[] = [];
    for await (const execution of new Client({ connection }).workflow.list({ query: "WorkflowType = 'migrateRequest'" }))
      moves.push(execution.status.name);
    expect(moves).toEqual(Array.from({ length: requestCount }, () => 'COMPLETED'));
    await connection.close();
    await streams.close();
  }, 120_000);
});
