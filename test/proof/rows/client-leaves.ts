// Clients that leave at every stage of a request, on a pool that is full, and what is left of them.
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'vitest';
import { findSpans } from '../../../lib/contracts.ts';
import type { RequestDone } from '../../../proto/gen/messages.ts';
import { eventually } from '../../support/eventually.ts';
import { form } from '../form.ts';
import { everythingIsPaid } from '../load.ts';
import { percentile, watchTimers } from '../machine.ts';
import type { Row } from '../row.ts';
import { smallModel, type World } from '../world.ts';

const atOnce = 16;
/** From the client's leaving to the end of the engine's work, besides what the processes on the way were late by. */
const stopWithinMs = 100;
/** The word goes from this process to the gateway and on to the agent, and waits for its turn in each. */
const processesOnTheWay = 3;
/** Of a hundred, less than half of them on an engine, the 99th percentile is one bad moment of the machine. */
const percent = form.name === 'full' ? 99 : 90;

const stages = ['at once', 'soon', 'in the queue', 'at the first byte', 'in mid-stream', 'not streaming'] as const;
type Stage = (typeof stages)[number];

interface Leave {
  readonly stage: Stage;
  readonly traceId: string;
  readonly leftAtMs: number;
}

/** Opens a request and leaves it at the stage. */
async function leaveAt(world: World, number: number): Promise<Leave> {
  const stage = stages[number % stages.length]!;
  const traceId = (number + 1).toString(16).padStart(32, 'a');
  const stop = new AbortController();
  const url = world.fleet.gatewayUrls[number % world.fleet.gatewayUrls.length];
  const answer = fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${world.key.secret}`, traceparent: `00-${traceId}-00000000000000aa-01` },
    body: JSON.stringify({ model: smallModel, prompt: `Leaver ${number}`, max_tokens: 400, stream: stage !== 'not streaming' }),
    signal: stop.signal,
  });
  answer.catch(() => {});
  if (stage === 'soon') await pause(1 + (number % 20));
  else if (stage === 'in the queue') await pause(50 + (number % 150));
  else if (stage === 'not streaming') await pause(100 + (number % 400));
  else if (stage !== 'at once') {
    const reader = (await answer).body!.getReader();
    let pieces = stage === 'at the first byte' ? 1 : 5 + (number % 10);
    while (pieces-- > 0) await reader.read();
    // The rest fails with the abort.
    reader.closed.catch(() => {});
  }
  const leftAtMs = Date.now();
  stop.abort();
  await answer.catch(() => {});
  return { stage, traceId, leftAtMs };
}

/** How long the engine went on, ms; undefined: it never had the request. */
async function engineWentOn(world: World, { traceId, leftAtMs }: Leave): Promise<number | undefined> {
  let done: RequestDone | undefined;
  let endMs: number | undefined;
  await eventually(`the end of the request in trace ${traceId} is told`, 20_000, () => {
    done = [...world.ends.values()].flat().find((end) => end.traceId === traceId);
    return { ok: done !== undefined || Date.now() - leftAtMs > 5_000, seen: 'nothing' };
  });
  // It left before the gateway had read the request, or before it had an instance.
  if (!done?.instanceId) return undefined;
  await eventually(`the engine has let go of ${done.requestId}`, 20_000, async () => {
    const replies = await world.bus.gather(findSpans, [], { requestId: '', traceId }, { timeoutMs: 400 });
    const span = replies.flatMap((reply) => reply.spans).find(({ name }) => name === 'engine.generate');
    endMs = span?.endMs;
    return { ok: endMs !== undefined, seen: replies.flatMap((reply) => reply.spans.map(({ name }) => name)) };
  });
  return Math.max(0, endMs! - leftAtMs);
}

const resources = ['TCPSocketWrap', 'Timeout'] as const;

/** Sockets and timers of the processes that a request touches, and requests that still have an actor. */
async function resourcesOf(world: World): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const id of [...world.fleet.ids('gateway'), ...world.fleet.ids('admission'), ...world.fleet.ids('router'), 'agent-small-1']) {
    for (const type of resources) found[`${id} ${type}`] = await world.metric(id, 'nodejs_active_resources', `type="${type}"`);
    if (id.startsWith('gateway')) {
      found[`${id} mailboxes`] = await world.metric(id, 'switchyard_requests_active');
      found[`${id} connections`] = await world.metric(id, 'switchyard_http_connections');
    }
  }
  return found;
}

/** What a process may hold more than before without a leak: idle connections, a link that was opened meanwhile. */
const slack = 8;

const clientLeaves: Row = {
  fault: `clients leave at every stage, ${form.leaves} times`,
  mustHold: `engine work stops within ${stopWithinMs} ms (p${percent}) and what the machine itself was late by, nothing leaks`,
  limitMs: 240_000 + form.leaves * 1_000,
  async run(world) {
    // Connections and caches that stay are made before the first look.
    await Promise.all(Array.from({ length: atOnce }, (_, number) => leaveAt(world, 1_000_000 + number)));
    await world.nothingIsHeld();
    const before = await resourcesOf(world);
    const lateMsAt = watchTimers();
    const wentOn: { readonly stage: Stage; readonly ms: number }[] = [];
    let next = 0;
    const leaver = async () => {
      while (next < form.leaves) {
        const leave = await leaveAt(world, next++);
        const ms = await engineWentOn(world, leave);
        if (ms !== undefined) wentOn.push({ stage: leave.stage, ms });
      }
    };
    await Promise.all(Array.from({ length: atOnce }, leaver));
    const lateMs = lateMsAt(percent);
    await world.nothingIsHeld();
    await everythingIsPaid(world);
    let leaked: Record<string, number> = {};
    await eventually('sockets, timers and mailboxes are as before', 30_000, async () => {
      const after = await resourcesOf(world);
      leaked = Object.fromEntries(
        Object.entries(after).flatMap(([what, count]) => (count > before[what]! + slack ? [[what, count - before[what]!]] : [])),
      );
      return { ok: Object.keys(leaked).length === 0, seen: leaked };
    });
    const times = wentOn.map(({ ms }) => ms);
    const stopMs = percentile(times, percent);
    const worst = wentOn.toSorted((a, b) => b.ms - a.ms)[0];
    expect(wentOn.length).toBeGreaterThan(form.leaves / 4);
    expect(stopMs, `${worst?.ms} ms when the client left ${worst?.stage}; timers late by ${lateMs} ms`).toBeLessThan(
      stopWithinMs + processesOnTheWay * lateMs,
    );
    return {
      requests: form.leaves,
      leftReserved: 0,
      note: `${wentOn.length} were on the engine, which went on for ${Math.round(percentile(times, 50))} ms (p50), ${Math.round(stopMs)} ms (p${percent}); timers late by ${Math.round(lateMs)} ms (p${percent})`,
    };
  },
};

export const clientLeavesRows: readonly Row[] = [clientLeaves];
