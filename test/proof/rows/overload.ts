// Half as many requests again as a pool can serve, of three priorities, for a while.
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'vitest';
import type { ReplayResult } from '../../../cli/replay/send.ts';
import { defaultSloTargets } from '../../../core/admission/slo.ts';
import { form } from '../form.ts';
import { countsOf, everythingIsPaid, isRefusal } from '../load.ts';
import { percentile, watchTimers } from '../machine.ts';
import type { Row } from '../row.ts';
import { crowdModel, type World } from '../world.ts';

/** By service tier, most urgent first, with its part of the requests. Those above the last fit into the pool. */
const tiers = [
  ['priority', 0.2],
  ['default', 0.4],
  ['flex', 0.4],
] as const;
type Tier = (typeof tiers)[number][0];

/** Long answers where many run, so that requests do not cost more than tokens. */
const outputTokens = form.name === 'full' ? 100 : 30;
/** Requests waiting in the pool's queue at most; the fleet's setting. */
export const maxQueued = form.name === 'full' ? 400 : 40;
/** Requests in the engine's batch: with the queue, 1,000 streams at once in the full form. */
export const crowdRunning = form.name === 'full' ? 700 : 8;
const overload = 1.5;

function open(world: World, number: number, tier: Tier): Promise<ReplayResult> {
  const streams = world.streams[number % world.streams.length]!;
  // Not all alike: they would end together, and what a full pool ends in a second could not be told.
  const length = Math.round(outputTokens * (0.6 + (number % 5) * 0.2));
  return streams.open({ model: crowdModel, prompt: `Overload ${number}`, outputTokens: length, sloClass: tier });
}

/** Requests that the pool ends in a second when it is full. */
async function capacityPerSecond(world: World): Promise<number> {
  let ended = 0;
  let measuring = true;
  let number = 0;
  const clients = Array.from({ length: crowdRunning + 4 }, async () => {
    while (measuring) {
      await open(world, 1_000_000 + number++, 'default');
      ended++;
    }
  });
  // The first batch fills it.
  while (ended < crowdRunning) await pause(5);
  const fromMs = performance.now();
  const before = ended;
  while (ended < before + 2 * crowdRunning) await pause(5);
  const perSecond = ((ended - before) * 1000) / (performance.now() - fromMs);
  measuring = false;
  await Promise.all(clients);
  return perSecond;
}

function tierOf(number: number): Tier {
  const place = ((number * 7) % 10) / 10;
  let sum = 0;
  for (const [tier, share] of tiers) {
    sum += share;
    if (place < sum - 1e-9) return tier;
  }
  return 'flex';
}

/** A request waits for its turn in this process, gateway, admission, router and agent, there and back. */
const turnsOnTheWay = 8;

const overloadRow: Row = {
  fault: `${form.overloadMs / 1000} s at ${overload * 100} % of capacity, mixed priorities`,
  mustHold: 'queues bounded, memory flat, high priority keeps its target, sheds carry reason and retry time, lowest class first',
  limitMs: 400_000 + form.overloadMs,
  async run(world) {
    const perSecond = await capacityPerSecond(world);
    await world.nothingIsHeld();
    const results = new Map<Tier, ReplayResult[]>(tiers.map(([tier]) => [tier, []]));
    const inFlight = new Set<Promise<void>>();
    let mostInFlight = 0;
    let deepest = 0;
    let owner = '';
    const processes = ['gateway', 'admission', 'router'].flatMap((service) => world.fleet.ids(service));
    const memory = async () => {
      const sizes = await Promise.all(processes.map((id) => world.metric(id, 'process_resident_memory_bytes')));
      return sizes.reduce((sum, bytes) => sum + bytes, 0) / 1e6;
    };
    owner = (await world.services()).find(({ owns }) => owns.some((owned) => owned.startsWith('queue/crowd@')))!.id;

    const lateMsAt = watchTimers();
    const startMs = performance.now();
    const elapsed = () => performance.now() - startMs;
    const memoryMb: number[] = [];
    const watching = (async () => {
      while (elapsed() < form.overloadMs) {
        deepest = Math.max(deepest, await world.metric(owner, 'switchyard_queue_depth', 'pool="crowd"'));
        if (elapsed() > (memoryMb.length + 1) * (form.overloadMs / 10)) memoryMb.push(await memory());
        await pause(200);
      }
    })();
    // Awaited below; a failure until then is not one that nobody handles.
    watching.catch(() => {});
    for (let number = 0; elapsed() < form.overloadMs; number++) {
      const dueMs = (number * 1000) / (perSecond * overload);
      if (dueMs > elapsed()) await pause(dueMs - elapsed());
      const tier = tierOf(number);
      const request = open(world, number, tier).then((result) => {
        results.get(tier)!.push(result);
        inFlight.delete(request);
      });
      inFlight.add(request);
      mostInFlight = Math.max(mostInFlight, inFlight.size);
    }
    await watching;
    await Promise.all(inFlight);
    await world.nothingIsHeld();
    await everythingIsPaid(world);

    const all = [...results.values()].flat();
    const sheds = all.filter((result) => result.outcome !== 'exact');
    expect(sheds.filter((result) => !(isRefusal(result) && /^(429|503) [a-z_]+/.test(result.detail))).map(({ detail }) => detail)).toEqual([]);
    expect(sheds.length).toBeGreaterThan(0);
    // Those that are with the router count as waiting; they are as many as there is room for.
    expect(deepest).toBeLessThanOrEqual(maxQueued + crowdRunning);
    const shareShed = (tier: Tier) => results.get(tier)!.filter((result) => result.outcome !== 'exact').length / results.get(tier)!.length;
    const [high, middle, low] = tiers.map(([tier]) => shareShed(tier)) as [number, number, number];
    expect(high).toBe(0);
    expect(middle).toBeLessThanOrEqual(low / 4);
    const ttft = percentile(
      results.get('priority')!.map((result) => result.ttftMs),
      95,
    );
    const lateMs = lateMsAt(95);
    expect(ttft).toBeLessThan(defaultSloTargets.interactive.ttftMs + turnsOnTheWay * lateMs);
    // The first look is after a tenth of the time; a short run has hardly warmed up.
    if (form.name === 'full') expect(memoryMb.at(-1)! / memoryMb[0]!).toBeLessThan(1.25);
    const percent = (share: number) => `${(share * 100).toFixed(0)} %`;
    return {
      ...countsOf(all),
      leftReserved: 0,
      note: `${perSecond.toFixed(1)} requests/s are full; at most ${mostInFlight} at once, ${deepest} queued; shed ${percent(high)} of priority, ${percent(middle)} of default, ${percent(low)} of flex; TTFT of priority ${Math.round(ttft)} ms (p95), target ${defaultSloTargets.interactive.ttftMs} ms, timers late by ${Math.round(lateMs)} ms (p95); memory ${Math.round(memoryMb[0] ?? 0)} to ${Math.round(memoryMb.at(-1) ?? 0)} MB`,
    };
  },
};

export const overloadRows: readonly Row[] = [overloadRow];
