// NATS, Redis and Temporal, restarted and away for a while, under load.
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'vitest';
import type { InstanceRow, MigrationsReport, MoveAnswer, ServiceRow, StartedAnswer, WorkflowRow } from '../../../lib/operator/types.ts';
import { eventually } from '../../support/eventually.ts';
import { countEngineTokens } from '../engine-tokens.ts';
import { form } from '../form.ts';
import { isRefusal, progress, settle, startLoad, streaming } from '../load.ts';
import type { Row } from '../row.ts';
import type { World } from '../world.ts';

const limitMs = 240_000 + 2 * form.outageMs;
/** A token takes 25 ms and more on these engines. */
const tokensFor = (ms: number) => Math.ceil(ms / 25);

export const natsAway: Row = {
  fault: `NATS restarted, then away for ${form.outageMs / 1000} s`,
  mustHold: 'running streams go on, new requests wait or are told when to come back, all recovers by itself, nothing expired is executed',
  limitMs,
  async run(world) {
    const { nats } = world.fleet.servers;
    const engines = await countEngineTokens(world);
    const load = startLoad(world, { clients: 12, outputTokens: 40 });
    await streaming(world, 6);
    await nats.restart();
    await progress(load, 12);
    await world.fleet.whole();

    const long = startLoad(world, { clients: 6, outputTokens: tokensFor(form.outageMs + 4_000) });
    await streaming(world, 12);
    const runningIds = new Set((await world.running()).map(({ id }) => id));
    await nats.kill();
    // The time away is the fault itself.
    await pause(form.outageMs);
    await nats.restart();
    await world.fleet.whole();
    await progress(load, 12);
    const longResults = await long.end();
    const longest = Math.max(...longResults.map((result) => result.longestGapMs));
    const counts = await settle(world, load, isRefusal);
    expect(longResults.filter((result) => result.outcome !== 'exact')).toEqual([]);
    const ran = [...world.ends.values()].map(([done]) => done!).filter(({ requestId }) => runningIds.has(requestId));
    expect(ran.map(({ requestId, failovers }) => [requestId, failovers])).toEqual(ran.map(({ requestId }) => [requestId, 0]));
    const longTokens = longResults.reduce((sum, result) => sum + result.tokens, 0);
    await engines.saidOnce(counts.tokens + longTokens);
    return {
      ...counts,
      requests: counts.requests + longResults.length,
      tokens: counts.tokens + longTokens,
      note: `longest pause of a running stream ${Math.round(longest)} ms`,
    };
  },
};

/** Leases as the services tell them, looked at all the time: no two owners under one epoch, no epoch that goes back. */
function watchLeases(world: World): { stop(): Promise<{ owners: number; wrong: string[] }> } {
  const ownerOf = new Map<string, string>();
  const newest = new Map<string, number>();
  const wrong: string[] = [];
  let watching = true;
  const look = (services: readonly ServiceRow[]) => {
    for (const { id, pid, owns } of services)
      for (const owned of owns) {
        const before = ownerOf.get(owned);
        if (before !== undefined && before !== `${id}/${pid}`) wrong.push(`${owned} belonged to ${before} and to ${id}/${pid}`);
        ownerOf.set(owned, `${id}/${pid}`);
        const [name = '', epoch] = owned.split('@');
        newest.set(name, Math.max(newest.get(name) ?? 0, Number(epoch)));
      }
  };
  const looking = (async () => {
    while (watching) {
      look(await world.services().catch(() => []));
      await pause(100);
    }
  })();
  return {
    async stop() {
      watching = false;
      await looking;
      const names = new Map<string, number>();
      await eventually('each lease has one owner', 30_000, async () => {
        names.clear();
        for (const { owns } of await world.services())
          for (const owned of owns) names.set(owned.split('@')[0]!, (names.get(owned.split('@')[0]!) ?? 0) + 1);
        return { ok: names.size === newest.size && [...names.values()].every((owners) => owners === 1), seen: Object.fromEntries(names) };
      });
      return { owners: ownerOf.size, wrong };
    },
  };
}

export const redisAway: Row = {
  fault: `Redis restarted, then away for ${form.outageMs / 1000} s`,
  mustHold: 'serving goes on under current leases, no double owner, no lost budget',
  limitMs,
  async run(world) {
    const { redis } = world.fleet.servers;
    const leases = watchLeases(world);
    const engines = await countEngineTokens(world);
    const load = startLoad(world, { clients: 12, outputTokens: 40 });
    await streaming(world, 6);
    await redis.restart();
    await progress(load, 12);

    await redis.kill();
    const beforeCount = load.results.length;
    await pause(form.outageMs);
    const served = load.results.length - beforeCount;
    expect(served, 'requests that ended while Redis was away').toBeGreaterThan(0);
    await redis.restart();
    await world.fleet.whole();
    await progress(load, 12);
    const counts = await settle(world, load);
    await engines.saidOnce(counts.tokens);
    const { owners, wrong } = await leases.stop();
    expect(wrong).toEqual([]);
    return { ...counts, note: `${served} requests ended meanwhile; ${owners} owners of leases, none under the epoch of another` };
  },
};

/** Resolves when the workflow has ended well. */
export function completed(world: World, workflowId: string, withinMs = 60_000): Promise<void> {
  return eventually(`${workflowId} completes`, withinMs, async () => {
    const row = await world.fleet.client('proof').get<WorkflowRow>(`/workflows/${encodeURIComponent(workflowId)}`);
    return { ok: row.status.toLowerCase() === 'completed', seen: row };
  });
}

function instance(rows: readonly InstanceRow[], id: string): InstanceRow {
  const found = rows.find((row) => row.id === id);
  if (!found) throw new Error(`no instance ${id}`);
  return found;
}

/** A drain of an instance with many streams, in the middle of its moves. */
async function beginDrain(world: World, instanceId: string): Promise<StartedAnswer> {
  const operator = world.fleet.client('proof');
  await eventually(`${instanceId} is busy`, 60_000, async () => {
    const row = instance(await world.fleet.instances(), instanceId);
    return { ok: row.running >= 4, seen: row };
  });
  const before = await operator.get<MigrationsReport>('/migrations');
  const started = await operator.post<StartedAnswer>('/drain', { instance: instanceId });
  await eventually('the drain moves requests', 30_000, async () => {
    const { active, committed, aborted } = await operator.get<MigrationsReport>('/migrations');
    return { ok: active.length > 0 || committed + aborted > before.committed + before.aborted, seen: { active, committed, aborted } };
  });
  return started;
}

/** Of all requests so far. */
function movesSoFar(world: World): number {
  return [...world.ends.values()].reduce((sum, [done]) => sum + done!.migrations, 0);
}

/** Of all requests so far. */
function failoversSoFar(world: World): number {
  return [...world.ends.values()].reduce((sum, [done]) => sum + done!.failovers, 0);
}

async function endDrain(world: World, instanceId: string, { workflowId }: StartedAnswer): Promise<void> {
  await completed(world, workflowId, 120_000);
  const row = instance(await world.fleet.instances(), instanceId);
  expect({ running: row.running, queued: row.queued, cordoned: row.cordoned }).toEqual({ running: 0, queued: 0, cordoned: true });
  // A Temporal that has just come back says no to some questions at first; the operator is told to try again.
  await eventually(`${instanceId} takes requests again`, 60_000, async () => {
    await world.fleet.client('proof').post('/undrain', { instance: instanceId });
    return { ok: true, seen: 'done' };
  });
}

export const temporalAway: Row = {
  fault: `Temporal away for ${form.outageMs / 1000} s, with a drain under way and an agent killed meanwhile`,
  mustHold: 'serving and fail-over go on, the drain resumes where it was',
  limitMs,
  async run(world) {
    const { temporal } = world.fleet.servers;
    // Longer than the outage: what the drain has to move is still there when Temporal comes back.
    const load = startLoad(world, { clients: 15, outputTokens: tokensFor(form.outageMs + 10_000) });
    const short = startLoad(world, { clients: 4, outputTokens: 30 });
    await streaming(world, 15);
    const movedBefore = movesSoFar(world);
    const failedBefore = failoversSoFar(world);
    const drain = await beginDrain(world, 'chat-3');
    await temporal.kill();
    const awayFromMs = performance.now();
    await world.fleet.kill('agent-chat-1');
    await progress(short, 8);
    world.fleet.start('agent-chat-1');
    await pause(Math.max(0, form.outageMs - (performance.now() - awayFromMs)));
    await temporal.restart();
    await endDrain(world, 'chat-3', drain);
    await world.fleet.whole();

    let move: MoveAnswer | undefined;
    await eventually('a migration is taken again', 60_000, async () => {
      const chosen = (await world.running()).find((row) => row.tokens > 2 && row.tokens < 60);
      if (!chosen) return { ok: false, seen: 'no request that runs' };
      move = await world.fleet.client('proof').post<MoveAnswer>('/migrate', { request: chosen.id, to: '' });
      return { ok: true, seen: move };
    });
    await completed(world, move!.workflowId);
    const shortResults = await short.end();
    const counts = await settle(world, load);
    expect(shortResults.filter((result) => result.outcome !== 'exact')).toEqual([]);
    const moved = movesSoFar(world) - movedBefore;
    const failovers = failoversSoFar(world) - failedBefore;
    // One is the migration asked for here.
    expect(moved).toBeGreaterThan(1);
    expect(failovers).toBeGreaterThan(0);
    return {
      ...counts,
      requests: counts.requests + shortResults.length,
      tokens: counts.tokens + shortResults.reduce((sum, result) => sum + result.tokens, 0),
      note: `${moved} requests moved, ${failovers} fail-overs`,
    };
  },
};

export const workerKilled: Row = {
  fault: 'kill -9 the worker in mid-drain',
  mustHold: 'serving goes on, the drain resumes where it was',
  limitMs: 120_000 + form.rounds * 120_000,
  async run(world) {
    const load = startLoad(world, { clients: 18, outputTokens: 300 });
    const movedBefore = movesSoFar(world);
    for (let round = 0; round < form.rounds; round++) {
      await streaming(world, 15);
      const drain = await beginDrain(world, 'chat-2');
      await world.fleet.kill('worker-1');
      await progress(load, 2);
      world.fleet.start('worker-1');
      await endDrain(world, 'chat-2', drain);
    }
    const counts = await settle(world, load);
    const moved = movesSoFar(world) - movedBefore;
    expect(moved).toBeGreaterThan(0);
    return { ...counts, note: `${form.rounds} drains, ${moved} requests moved` };
  },
};
