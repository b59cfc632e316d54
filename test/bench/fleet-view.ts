// What the fleet view costs the bus and one reader, by number of busy instances: told as differences, and, to compare, as
// one whole view each time something changed: `npm run bench:fleet-view`. The fleet is made up, the code is the tracker's
// and the router's own, with encoding and decoding and without the network.
import { RoutingMemory } from '../../core/routing/routing-memory.ts';
import { exampleInstance } from '../../core/tracking/example-fleet.ts';
import { FleetPublication } from '../../core/tracking/fleet-publication.ts';
import { changeOfView, FleetReplica } from '../../core/tracking/fleet-replica.ts';
import { FleetDelta, FleetView, type InstanceView, type SequenceStatus } from '../../proto/gen/messages.ts';
import { runBench } from './harness/run-bench.ts';

const sequencesEach = 32;
/** As the tracker and the agents are set by default. */
const [minPublishMs, maxPublishMs, heartbeatMs] = [50, 1_000, 500];
/** A request begins or ends on an instance so often, which is told at once. */
const betweenEndsMs = 2_000;
const messageLimitBytes = 1024 * 1024;

/** Instances that report one after another, each twice a second; every fourth report says that a request ended and another began. */
class MadeUpFleet {
  readonly current = new Map<string, InstanceView>();
  readonly #ids: readonly string[];
  #requests = 0;

  constructor(count: number) {
    this.#ids = Array.from({ length: count }, (_, index) => `chat-${String(index).padStart(5, '0')}`);
    for (const id of this.#ids)
      this.current.set(id, exampleInstance({ instanceId: id, sequences: Array.from({ length: sequencesEach }, () => this.#begun(0)) }));
  }

  #begun(nowMs: number): SequenceStatus {
    const text = String(this.#requests++).padStart(20, '0');
    const shape = { state: 'decode' as const, promptTokens: 800, outputTokens: 1, maxOutputTokens: 1_000, blocks: 50, priority: 0, epoch: 1 };
    return {
      ...shape,
      requestId: `req-${text}`,
      gatewayId: 'gateway-1',
      arrivalMs: nowMs,
      traceparent: `00-${'a'.repeat(12)}${text}-b7ad6b7169203331-01`,
    };
  }

  /** Reports that come in the `tick`-th interval; which instances told something that matters. */
  report(tick: number, nowMs: number): Map<string, boolean> {
    const slots = heartbeatMs / minPublishMs;
    const changed = new Map<string, boolean>();
    for (let index = tick % slots; index < this.#ids.length; index += slots) {
      const id = this.#ids[index]!;
      const before = this.current.get(id)!.status!;
      const round = Math.floor(tick / slots) + Math.floor(index / slots);
      const matters = round % (betweenEndsMs / heartbeatMs) === 0;
      let sequences = before.sequences.map((each) => ({
        ...each,
        outputTokens: each.outputTokens + 25,
        blocks: 50 + Math.ceil((each.outputTokens + 25) / 16),
      }));
      if (matters) sequences = [...sequences.slice(1), this.#begun(nowMs)];
      const freeBlocks = before.freeBlocks;
      this.current.set(
        id,
        exampleInstance({ instanceId: id, sequences, freeBlocks, sequenceNumber: before.sequenceNumber + 1 }, { receivedAtMs: nowMs }),
      );
      changed.set(id, matters);
    }
    return changed;
  }
}

interface Measured {
  /** Of fleet time. */
  readonly bytesPerS: number;
  readonly messagesPerS: number;
  readonly largestBytes: number;
  readonly trackerMsPerS: number;
  readonly readerMsPerS: number;
  readonly longestMs: number;
}

/** CPU time of this thread: others who work on the machine are not in it. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

/** What messages cost, and those who make and take them. */
class Meter {
  #bytes = 0;
  #messages = 0;
  #largest = 0;
  #trackerMs = 0;
  #readerMs = 0;
  #longest = 0;

  tracker<T>(work: () => T): T {
    const startMs = cpuMs();
    const result = work();
    this.#trackerMs += cpuMs() - startMs;
    return result;
  }

  /** One message at the reader: nothing else runs there meanwhile. */
  reader(bytes: number, work: () => void): void {
    this.#bytes += bytes;
    this.#messages += 1;
    this.#largest = Math.max(this.#largest, bytes);
    const startMs = cpuMs();
    work();
    const tookMs = cpuMs() - startMs;
    this.#readerMs += tookMs;
    this.#longest = Math.max(this.#longest, tookMs);
  }

  over(fleetS: number): Measured {
    return {
      bytesPerS: this.#bytes / fleetS,
      messagesPerS: this.#messages / fleetS,
      largestBytes: this.#largest,
      trackerMsPerS: this.#trackerMs / fleetS,
      readerMsPerS: this.#readerMs / fleetS,
      longestMs: this.#longest,
    };
  }
}

/** `ticks` publishing intervals after as many to get warm. */
function differences(count: number, ticks: number): Measured {
  const fleet = new MadeUpFleet(count);
  const publication = new FleetPublication('t', () => maxPublishMs);
  const replica = new FleetReplica();
  const memory = new RoutingMemory();
  for (const delta of publication.begin(1, [...fleet.current.values()], 0)) for (const change of replica.take(delta)) memory.takeChange(change, 0);
  let meter = new Meter();
  for (let tick = 0; tick < 2 * ticks; tick++) {
    if (tick === ticks) meter = new Meter();
    const nowMs = tick * minPublishMs;
    for (const [id, matters] of fleet.report(tick, nowMs)) publication.note(id, matters);
    if (publication.nextDueMs() > nowMs) continue;
    const messages = meter.tracker(() => publication.tell((id) => fleet.current.get(id), nowMs).map((delta) => FleetDelta.encode(delta)));
    for (const bytes of messages)
      meter.reader(bytes.length, () => {
        for (const change of replica.take(FleetDelta.decode(bytes))) memory.takeChange(change, nowMs);
      });
  }
  return meter.over((ticks * minPublishMs) / 1_000);
}

/** A whole view in each interval in which something changed that matters, as large as it comes. */
function wholeViews(count: number, ticks: number): Measured {
  const fleet = new MadeUpFleet(count);
  const memory = new RoutingMemory();
  const meter = new Meter();
  for (let tick = 0; tick < ticks; tick++) {
    const nowMs = tick * minPublishMs;
    const changed = fleet.report(tick, nowMs);
    if (![...changed.values()].includes(true)) continue;
    const header = { trackerId: 't', epoch: 1, version: tick + 1, atMs: nowMs, nextAfter: '' };
    const bytes = meter.tracker(() => FleetView.encode({ ...header, instances: [...fleet.current.values()] }));
    meter.reader(bytes.length, () => memory.takeChange(changeOfView(FleetView.decode(bytes)), nowMs));
  }
  return meter.over((ticks * minPublishMs) / 1_000);
}

await runBench('fleet-view', async ({ mode, say }) => {
  const rows = [10, 100, 1_000, 10_000].flatMap((count) => {
    say(`${count} instances`);
    const row = (how: string, measured: Measured) => [
      String(count),
      how,
      measured.bytesPerS / 1024,
      measured.messagesPerS,
      measured.largestBytes / 1024,
      measured.trackerMsPerS,
      measured.readerMsPerS,
      measured.longestMs,
      measured.largestBytes > messageLimitBytes ? 'no' : 'yes',
    ];
    // A whole view of ten thousand takes seconds: a few show what one costs, and the rate is the same.
    const wholeTicks = mode === 'full' ? (count === 10_000 ? 4 : 40) : count === 10_000 ? 1 : 10;
    return [row('whole views', wholeViews(count, wholeTicks)), row('differences', differences(count, mode === 'full' ? 100 : 40))];
  });
  const columns = [
    'instances',
    'told as',
    'KiB/s',
    'messages/s',
    'largest, KiB',
    'tracker CPU ms/s',
    'reader CPU ms/s',
    'longest turn, CPU ms',
    'within 1 MiB',
  ];
  const notes = [
    `each instance has ${sequencesEach} traced sequences, reports every ${heartbeatMs} ms, and ends one of them every ${betweenEndsMs} ms`,
    'tracker: making and encoding messages; reader: a router, decoding them and keeping its tables; more than 1,000 ms/s is more than a core',
  ];
  return [{ title: 'The fleet view', columns, rows, notes }];
});
