// Prefix affinity against round-robin, both in a small simulated fleet: engines that compute one prompt after another,
// less what they have cached, and hold a place until the answer is finished. Reports are late, as in life. Affinity has to
// pay where prompts are shared, and must cost nothing where they are not.
import { describe, expect, test } from 'vitest';
import type { RequestInfo } from '../../proto/gen/messages.ts';
import { decideBatch } from './batch.ts';
import { prefixBlockBytes } from './prefix-hash.ts';
import { defaultProfile } from './profile.ts';
import { anInstance, aRequest, aSequence, aView } from './routing-fixtures.ts';
import { RoutingMemory } from './routing-memory.ts';

const [prefillMsPerToken, decodeMs, reportEveryMs] = [0.25, 1_500, 200];
const [blockTokens, cacheBlocks, families] = [prefixBlockBytes / 4, 400, 40];

interface Workload {
  readonly instances: number;
  /** Requests per second. */
  readonly rate: number;
  /** Share of requests that begin with one of a few long prefixes. */
  readonly sharing: number;
  readonly seed: number;
}

interface Arrival {
  readonly atMs: number;
  readonly request: RequestInfo;
}

/** Uniform in [0, 1). */
function randomOf(seed: number): () => number {
  let state = seed * 2_654_435_761 + 1;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 4_294_967_296;
  };
}

function arrivalsOf({ rate, sharing, seed }: Workload): Arrival[] {
  const random = randomOf(seed);
  let atMs = 0;
  return Array.from({ length: 1_500 }, (_, index) => {
    atMs += (-Math.log(1 - random()) * 1_000) / rate;
    const blocks = 4 + Math.floor(random() * 20);
    const family = random() < sharing ? Math.floor(random() * families) : 1_000 + index;
    const common = 12;
    const prefixHashes = Array.from({ length: blocks }, (_, block) => (block < common ? family * 64 + block : 1_000_000 + index * 64 + block));
    return { atMs, request: aRequest(`r${index}`, { prefixHashes, promptTokens: blocks * blockTokens, arrivalMs: atMs }) };
  });
}

/** Engines with a queue for prompts each, and a cache of the blocks used last. */
class Engines {
  readonly ids: readonly string[];
  readonly #freeAtMs: number[];
  readonly #cached: Set<number>[];
  readonly #running: Map<string, { readonly firstTokenAtMs: number; readonly promptTokens: number }>[];

  constructor(count: number) {
    this.ids = Array.from({ length: count }, (_, index) => `i${index}`);
    this.#freeAtMs = this.ids.map(() => 0);
    this.#cached = this.ids.map(() => new Set());
    this.#running = this.ids.map(() => new Map());
  }

  /** Time to the first token, ms. */
  run(at: number, { request, atMs }: Arrival): number {
    const cached = this.#cached[at]!;
    const missing = request.prefixHashes.filter((hash) => !cached.has(hash)).length;
    for (const hash of request.prefixHashes.toReversed()) {
      cached.delete(hash);
      cached.add(hash);
    }
    for (const oldest of cached) {
      if (cached.size <= cacheBlocks) break;
      cached.delete(oldest);
    }
    const firstTokenAtMs = Math.max(atMs, this.#freeAtMs[at]!) + 10 + missing * blockTokens * prefillMsPerToken;
    this.#freeAtMs[at] = firstTokenAtMs;
    this.#running[at]!.set(request.requestId, { firstTokenAtMs, promptTokens: request.promptTokens });
    return firstTokenAtMs - atMs;
  }

  ended(nowMs: number): string[] {
    return this.#running.flatMap((running) =>
      [...running].flatMap(([requestId, { firstTokenAtMs }]) => {
        if (firstTokenAtMs + decodeMs > nowMs) return [];
        running.delete(requestId);
        return [requestId];
      }),
    );
  }

  view(nowMs: number, version: number) {
    const instances = this.ids.map((id, at) => {
      const sequences = [...this.#running[at]!].map(([requestId, { firstTokenAtMs, promptTokens }]) =>
        aSequence(requestId, { state: firstTokenAtMs > nowMs ? 'prefill' : 'decode', promptTokens, outputTokens: 0 }),
      );
      return anInstance(id, {
        running: sequences.length,
        sequences,
        maxRunning: 256,
        freeBlocks: 2_048 - sequences.length * 7,
        sequenceNumber: version,
      });
    });
    return aView(instances, { version, atMs: nowMs });
  }
}

function roundRobin(workload: Workload): number[] {
  const engines = new Engines(workload.instances);
  return arrivalsOf(workload).map((arrival, index) => engines.run(index % workload.instances, arrival));
}

function routed(workload: Workload): number[] {
  const engines = new Engines(workload.instances);
  const memory = new RoutingMemory();
  let [version, reportAtMs] = [0, 0];
  return arrivalsOf(workload).map((arrival, index) => {
    const nowMs = arrival.atMs;
    for (const requestId of engines.ended(nowMs)) memory.fleet.account.done(requestId, nowMs);
    if (nowMs >= reportAtMs) {
      memory.takeView(engines.view(nowMs, ++version), nowMs);
      reportAtMs = nowMs + reportEveryMs;
    }
    const batch = { requests: [arrival.request], profile: defaultProfile, nowMs, seeds: [index * 7_919], routerId: 'router-1' };
    const [decision] = decideBatch(memory, batch);
    return engines.run(engines.ids.indexOf(decision!.chosen!.instanceId), arrival);
  });
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const p99 = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length * 0.99)]!;

describe('prefix affinity', () => {
  const seeds = [1, 2, 3];
  const compare = (workload: Omit<Workload, 'seed'>) => {
    const runs = seeds.map((seed) => ({ ours: routed({ ...workload, seed }), theirs: roundRobin({ ...workload, seed }) }));
    const ours = runs.flatMap((run) => run.ours);
    const theirs = runs.flatMap((run) => run.theirs);
    return { mean: mean(ours) / mean(theirs), p99: p99(ours) / p99(theirs) };
  };

  test.each([
    ['nothing is shared and hardly anything runs', { instances: 4, rate: 1, sharing: 0 }],
    ['nothing is shared, under load', { instances: 4, rate: 14, sharing: 0 }],
    ['little is shared and hardly anything runs', { instances: 4, rate: 1, sharing: 0.05 }],
    ['little is shared, under load', { instances: 4, rate: 14, sharing: 0.05 }],
    ['half is shared', { instances: 8, rate: 28, sharing: 0.5 }],
    ['little is shared among many', { instances: 16, rate: 56, sharing: 0.1 }],
  ])('is not worse than round-robin when %s', (_, workload) => {
    const ratio = compare(workload);
    expect(ratio.mean).toBeLessThanOrEqual(1.02);
    expect(ratio.p99).toBeLessThanOrEqual(1.05);
  });

  test('is much better when most prompts are shared', () => {
    const ratio = compare({ instances: 8, rate: 28, sharing: 0.9 });
    expect(ratio.mean).toBeLessThan(0.8);
  });
});
