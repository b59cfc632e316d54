// A workload that runs while faults are made: so many clients, each with one verified stream after the other, on all
// gateways in turn. A client that is told when to come back waits that long.
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'vitest';
import type { ReplayResult } from '../../cli/replay/send.ts';
import { eventually } from '../support/eventually.ts';
import { model, type World } from './world.ts';

export interface LoadOptions {
  readonly clients: number;
  readonly outputTokens: number;
  /** Of the large pool when left out. */
  readonly model?: string;
  /** Words of each prompt. */
  readonly promptWords?: number;
  /** The gateways used, by index. All when left out. */
  readonly gateways?: readonly number[];
  readonly sloClass?: string;
  /** As behind a load balancer: a request that a gateway did not take, because it is away or ends, goes to the next one. */
  readonly balanced?: boolean;
}

export interface Load {
  readonly results: readonly ReplayResult[];
  /** Clients begin no new request; resolves when all requests have ended. */
  end(): Promise<readonly ReplayResult[]>;
}

/** A refused client comes back no sooner and no later than this, whatever it is told. */
const shortestPauseMs = 50;
const longestPauseMs = 1_000;
let loads = 0;
const running = new Set<Load>();

export function startLoad(world: World, options: LoadOptions): Load {
  const results: ReplayResult[] = [];
  const load = ++loads;
  const gateways = options.gateways ?? world.streams.map((_, index) => index);
  let ending = false;

  async function client(number: number): Promise<void> {
    for (let turn = 0; !ending; turn++) {
      const request = {
        model: options.model ?? model,
        prompt: `Load ${load}, client ${number}, turn ${turn}: ${'word '.repeat(options.promptWords ?? 40)}`,
        // Not all alike, so that they end at different times.
        outputTokens: Math.max(1, Math.round(options.outputTokens * (0.5 + ((number * 7 + turn * 3) % 10) / 10))),
        sloClass: options.sloClass ?? 'default',
      };
      const open = (door: number) => world.streams[gateways[door % gateways.length]!]!.open(request);
      let result = await open(number + turn);
      if (options.balanced && isNotTaken(result)) result = await open(number + turn + 1);
      results.push(result);
      if (result.outcome !== 'exact') await pause(Math.min(longestPauseMs, Math.max(shortestPauseMs, result.retryAfterMs)));
    }
  }

  const clients = Promise.all(Array.from({ length: options.clients }, (_, number) => client(number)));
  const started: Load = {
    results,
    async end() {
      ending = true;
      await clients;
      running.delete(started);
      return results;
    },
  };
  running.add(started);
  return started;
}

/** Ends what a row that failed has left running. */
export async function endLoads(): Promise<void> {
  await Promise.all([...running].map((load) => load.end()));
}

/** Waits until so many requests of the world stream. */
export function streaming(world: World, count: number, withinMs = 60_000): Promise<void> {
  return eventually(`${count} requests stream`, withinMs, async () => {
    const rows = await world.running();
    return { ok: rows.length >= count, seen: rows.length };
  });
}

/** Waits until the load has ended so many more requests whole. */
export function progress(load: Load, count: number, withinMs = 60_000): Promise<void> {
  const before = exact(load.results);
  return eventually(`${count} more requests end`, withinMs, () => ({
    ok: exact(load.results) >= before + count,
    seen: exact(load.results) - before,
  }));
}

const exact = (results: readonly ReplayResult[]) => results.filter((result) => result.outcome === 'exact').length;

/** Nothing was done with the request: no connection, or a gateway that says that it ends. */
function isNotTaken(result: ReplayResult): boolean {
  return (result.status === 0 && result.detail.includes('ECONNREFUSED')) || (result.status === 503 && result.detail.includes('draining'));
}

/** A request that was turned away before any token and told when to come back. */
export function isRefusal(result: ReplayResult): boolean {
  return (result.status === 429 || result.status === 503) && result.retryAfterMs > 0;
}

/** What clients saw. */
export function countsOf(results: readonly ReplayResult[]) {
  const sum = (count: (result: ReplayResult) => number) => results.reduce((total, result) => total + count(result), 0);
  const wrong = results.filter((result) => result.outcome !== 'exact');
  return {
    requests: results.length,
    tokens: sum((result) => result.tokens),
    lost: sum(({ deviation }) => deviation.lost),
    repeated: sum(({ deviation }) => deviation.repeated),
    misplaced: sum(({ deviation }) => deviation.misplaced),
    errors: wrong.filter((result) => !isRefusal(result)).length,
    refused: wrong.filter(isRefusal).length,
  };
}

/** The key's ledger has what the recorded ends of this row say, no more and no less. */
export async function everythingIsPaid(world: World): Promise<void> {
  await eventually('what was used is paid, once', 30_000, async () => {
    const unpaidMicros = await world.unpaidMicros();
    return { ok: Math.abs(unpaidMicros) < 1, seen: { unpaidMicros } };
  });
}

/**
 * Ends the load and waits until nothing is held. Fails unless every accepted request was token-exact and its end told once.
 * @param allowed results that this fault excuses; none when left out
 */
export async function settle(world: World, load: Load, allowed: (result: ReplayResult) => boolean = () => false) {
  const results = await load.end();
  await world.nothingIsHeld();
  const accepted = results.filter((result) => result.status === 200);
  await eventually('the end of every accepted request is recorded', 30_000, () => {
    const missing = accepted.filter(({ requestId }) => !world.ends.has(requestId)).map(({ requestId }) => requestId);
    return { ok: missing.length === 0, seen: missing };
  });
  await everythingIsPaid(world);
  const held = await world.held();
  const told = accepted.filter(({ requestId }) => world.ends.get(requestId)?.length !== 1);
  const counts = {
    ...countsOf(results),
    doubleEnds: told.length,
    leftReserved: Object.values(held).reduce((total, count) => total + count, 0),
  };
  const bad = results.filter((result) => result.outcome !== 'exact' && !allowed(result));
  expect(bad.map(({ requestId, outcome, detail }) => `${requestId}: ${outcome}: ${detail}`).slice(0, 20)).toEqual([]);
  expect(told.map(({ requestId }) => `${requestId} ended ${world.ends.get(requestId)?.length} times`)).toEqual([]);
  expect({ lost: counts.lost, repeated: counts.repeated, misplaced: counts.misplaced }).toEqual({ lost: 0, repeated: 0, misplaced: 0 });
  return counts;
}
