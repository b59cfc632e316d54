import { beforeEach, expect, test } from 'vitest';
import { announced, exampleInstance, exampleView } from '../../core/tracking/example-fleet.ts';
import { FleetPublication } from '../../core/tracking/fleet-publication.ts';
import type { FleetChange } from '../../core/tracking/fleet-replica.ts';
import type { FleetDelta, FleetQuery, InstanceView } from '../../proto/gen/messages.ts';
import type { VirtualClock } from '../clock/virtual-clock.ts';
import { fleetChanged, getFleet } from '../contracts.ts';
import type { Bus } from '../ports/bus.ts';
import { createMemoryWorld, type MemoryWorld } from '../run/memory-ports.ts';
import { askFleet } from './ask-fleet.ts';
import { watchFleet } from './watch-fleet.ts';

let world: MemoryWorld<VirtualClock>;
let tracker: Bus;
let publication: FleetPublication;
let instances: Map<string, InstanceView>;
let asked: { readonly atMs: number; readonly after: string }[];

beforeEach(() => {
  world = createMemoryWorld();
  tracker = world.ports('instance-tracker-1').bus;
  publication = new FleetPublication('instance-tracker-1', () => 1_000);
  instances = new Map();
  asked = [];
});

const idOf = (index: number) => `chat-${String(index).padStart(4, '0')}`;
function begin(count = 3, epoch = 1): FleetDelta[] {
  for (let index = 0; index < count; index++) instances.set(idOf(index), exampleInstance({ instanceId: idOf(index) }));
  return publication.begin(epoch, [...instances.values()], world.clock.now());
}
function change(index: number, freeBlocks: number): FleetDelta[] {
  instances.set(idOf(index), exampleInstance({ instanceId: idOf(index), freeBlocks, sequenceNumber: freeBlocks }));
  publication.note(idOf(index), true);
  return publication.tell((id) => instances.get(id), world.clock.now());
}
async function publish(deltas: readonly FleetDelta[]): Promise<void> {
  for (const delta of deltas) tracker.publish(fleetChanged, [], delta);
  await world.clock.advance(5);
}
function serve(answer: (query: FleetQuery) => ReturnType<FleetPublication['page']> = (query) => publication.page(query)): void {
  tracker.serve(getFleet, [], (query) => {
    asked.push({ atMs: world.clock.now(), after: query.after });
    return answer(query);
  });
}
function watch(name = 'router-1') {
  const changes: FleetChange[] = [];
  const watching = watchFleet({ ...world.ports(name), changed: (each) => changes.push(each) });
  return { watching, changes };
}
const free = (view = watchedView!()) => view?.instances.map(({ status }) => status?.freeBlocks);
let watchedView: (() => ReturnType<ReturnType<typeof watchFleet>['view']>) | undefined;

test('asks at the start and is told which instances changed from then on', async () => {
  begin();
  serve();
  const { watching, changes } = watch();
  watchedView = watching.view;
  await world.clock.advance(10);
  expect(changes.map(({ whole, changed }) => [whole, changed.length])).toEqual([[true, 3]]);
  await publish(change(1, 7));
  expect(changes.at(-1)).toMatchObject({ whole: false, removed: [], version: 2 });
  expect(changes.at(-1)!.changed.map(({ status }) => status?.instanceId)).toEqual([idOf(1)]);
  expect(free()).toEqual([1_000, 7, 1_000]);
  expect(asked).toHaveLength(1);
});

test('a lost difference is noticed with the next one and repaired with one question, soon and not at once', async () => {
  await publish(begin());
  serve();
  const { watching, changes } = watch();
  await world.clock.advance(10);
  asked.length = 0;
  change(0, 1);
  const fromMs = world.clock.now();
  await publish(change(1, 2));
  expect(watching.view()?.version).toBe(1);
  for (let index = 0; index < 5; index++) await publish(change(2, 3 + index));
  await world.clock.advance(100);
  watchedView = watching.view;
  expect(free()).toEqual([1, 2, 7]);
  expect(asked).toHaveLength(1);
  expect(asked[0]!.atMs - fromMs).toBeLessThanOrEqual(60);
  expect(changes.at(-1)?.version).toBe(publication.header.version);
});

test('a difference that was only late needs no question', async () => {
  begin();
  serve();
  const { watching } = watch();
  await world.clock.advance(10);
  asked.length = 0;
  const [first, second] = [change(0, 1), change(1, 2)];
  for (const delta of [...second, ...first]) tracker.publish(fleetChanged, [], delta);
  await world.clock.advance(500);
  watchedView = watching.view;
  expect(free()).toEqual([1, 2, 1_000]);
  expect(asked).toEqual([]);
});

test('many readers who miss the same do not ask at the same time', async () => {
  begin();
  serve();
  for (let reader = 0; reader < 20; reader++) watch(`router-${reader}`);
  await world.clock.advance(10);
  asked.length = 0;
  change(0, 1);
  await publish(change(1, 2));
  await world.clock.advance(100);
  expect(asked).toHaveLength(20);
  expect(new Set(asked.map(({ atMs }) => Math.round(atMs))).size).toBeGreaterThan(10);
});

test('questions that are of no use become rare, and one is under way at a time', async () => {
  begin();
  let underWay = 0;
  let most = 0;
  tracker.serve(getFleet, [], async () => {
    most = Math.max(most, ++underWay);
    asked.push({ atMs: world.clock.now(), after: '' });
    await new Promise<void>((resolve) => world.clock.after(300, resolve));
    underWay -= 1;
    throw new Error('not now');
  });
  watch();
  for (let round = 0; round < 100; round++) await publish(change(0, round)).then(() => world.clock.advance(95));
  expect(most).toBe(1);
  expect(asked.length).toBeGreaterThan(4);
  expect(asked.length).toBeLessThan(14);
});

test('of a fleet of many pages has it whole although it changes while pages come', async () => {
  begin(3_000);
  serve((query) => {
    const page = publication.page(query);
    // Something before, in and behind the page changes while it is on its way.
    for (const index of [0, 1_500, 2_999]) for (const delta of change(index, asked.length)) tracker.publish(fleetChanged, [], delta);
    return page;
  });
  const { watching } = watch();
  await world.clock.until(() => watching.view() !== undefined, 2_000);
  expect(asked.length).toBeGreaterThan(3);
  expect(new Set(asked.map(({ after }) => after)).size).toBe(asked.length);
  expect(watching.view()!.instances).toHaveLength(3_000);
  for (const index of [0, 1_500, 2_999]) expect(watching.view()!.instances[index]!.status!.freeBlocks).toBe(asked.length);
});

test('a tracker that takes over between two pages makes the reader begin again', async () => {
  begin(3_000);
  serve((query) => {
    if (asked.length === 2) begin(3_000, 2);
    return publication.page(query);
  });
  const { watching } = watch();
  await world.clock.until(() => watching.view() !== undefined, 3_000);
  expect(watching.view()).toMatchObject({ epoch: 2 });
  expect(watching.view()!.instances).toHaveLength(3_000);
  expect(asked[2]!.after).toBe('');
});

test('a new publisher is taken at once when it says everything, and an old one not heard any more', async () => {
  begin();
  serve();
  const { watching } = watch();
  await world.clock.advance(10);
  asked.length = 0;
  const late = change(0, 1);
  await publish(begin(2, 2));
  expect(watching.view()).toMatchObject({ epoch: 2, version: 1 });
  await publish(late);
  expect(watching.view()).toMatchObject({ epoch: 2, version: 1 });
  expect(asked).toEqual([]);
});

test('who hears nothing for two seconds asks, and who waits for a newer view hears of it', async () => {
  begin();
  serve();
  const { watching } = watch();
  await world.clock.advance(10);
  change(0, 5);
  let came: boolean | undefined;
  void watching.newer(10_000).then((result) => (came = result));
  await world.clock.advance(1_500);
  expect([came, watching.ageMs() >= 1_500]).toEqual([undefined, true]);
  await world.clock.advance(3_000);
  expect([came, watching.view()?.version]).toEqual([true, 2]);
  expect(await Promise.all([watching.newer(0)])).toEqual([false]);
});

test('a question about the fleet gets all pages, without sequences where they are not wanted', async () => {
  begin(3_000);
  serve();
  let found: number | undefined;
  void askFleet(world.ports('console-1').bus, { timeoutMs: 1_000, withoutSequences: true }).then(({ instances: all }) => (found = all.length));
  await world.clock.until(() => found !== undefined, 1_000);
  expect(found).toBe(3_000);
});

test('a view that is announced whole needs no tracker that answers', async () => {
  const { watching } = watch();
  await world.clock.advance(10);
  await publish([announced(exampleView([exampleInstance({ instanceId: 'chat-1' })]))]);
  expect(watching.view()?.instances).toHaveLength(1);
  await watching.stop();
});
