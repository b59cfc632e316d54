// What one routing decision costs, by number of instances: `npm run bench:router`. The work is that of the router's step: decide,
// book, record, and forget when done.
import { decideBatch } from '../../core/routing/batch.ts';
import { defaultProfile } from '../../core/routing/profile.ts';
import { anInstance, aRequest, aView } from '../../core/routing/routing-fixtures.ts';
import { RoutingMemory } from '../../core/routing/routing-memory.ts';
import type { FleetView, RequestInfo } from '../../proto/gen/messages.ts';
import { runBench } from './harness/run-bench.ts';
import { mean, percentile } from './harness/statistics.ts';

const warmUpMs = 500;
/** Requests that are placed and not yet done. */
const inFlight = 64;
/** Blocks of a prompt: a system prompt that all share, and the rest its own. */
const [sharedBlocks, ownBlocks] = [8, 24];

interface Measured {
  readonly meanNs: number;
  readonly p50Ns: number;
  readonly p99Ns: number;
  /** Taking in a view in which every instance has reported anew. */
  readonly viewNs: number;
}

function fleetOf(instances: number, version: number): FleetView {
  return aView(
    Array.from({ length: instances }, (_, index) =>
      anInstance(`chat-${index}`, { running: index % 20, freeBlocks: 2_000 - ((index * 37) % 1_500), totalBlocks: 2_048, sequenceNumber: version }),
    ),
    { version },
  );
}

function requestOf(index: number): RequestInfo {
  const shared = Array.from({ length: sharedBlocks }, (_, block) => block);
  const own = Array.from({ length: ownBlocks }, (_, block) => (index * 64 + block + 1_000) >>> 0);
  return aRequest(`r${index}`, { prefixHashes: [...shared, ...own], sessionId: `s${index % 1_000}` });
}

function measure(instances: number, measuredMs: number): Measured {
  const memory = new RoutingMemory();
  const viewTimesNs = Array.from({ length: 20 }, (_, version) => {
    const view = fleetOf(instances, version + 1);
    const startMs = performance.now();
    memory.takeView(view, 1_000);
    return (performance.now() - startMs) * 1e6;
  });
  const timesNs: number[] = [];
  let index = 0;
  const run = (forMs: number, note: (ns: number) => void) => {
    const endMs = performance.now() + forMs;
    while (performance.now() < endMs) {
      const request = requestOf(index);
      const batch = { requests: [request], profile: defaultProfile, nowMs: 2_000, seeds: [index], routerId: 'router-1' };
      const startMs = performance.now();
      decideBatch(memory, batch);
      if (index >= inFlight) memory.fleet.account.done(`r${index - inFlight}`, 2_000);
      note((performance.now() - startMs) * 1e6);
      index += 1;
    }
  };
  run(warmUpMs, () => {});
  run(measuredMs, (ns) => timesNs.push(ns));
  return {
    meanNs: mean(timesNs),
    p50Ns: percentile(timesNs, 0.5),
    p99Ns: percentile(timesNs, 0.99),
    viewNs: percentile(viewTimesNs, 0.5),
  };
}

await runBench('router', async ({ mode }) => {
  const rows = [10, 100, 1_000, 10_000].map((instances) => {
    const { meanNs, p50Ns, p99Ns, viewNs } = measure(instances, mode === 'full' ? 3_000 : 500);
    return [String(instances), ...[meanNs, p50Ns, p99Ns, viewNs].map((ns) => ns / 1_000)];
  });
  const columns = ['instances', 'µs a decision', 'p50', 'p99', 'p50 of taking a view'];
  const notes = [`${sharedBlocks + ownBlocks} blocks of prompt each, ${inFlight} requests placed and not yet done; without the bus`];
  return [{ title: 'One routing decision', columns, rows, notes }];
});
