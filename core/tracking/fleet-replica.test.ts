import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FleetDelta, FleetView, type InstanceView, type SequenceStatus } from '../../proto/gen/messages.ts';
import { exampleInstance, exampleSequence } from './example-fleet.ts';
import { FleetPublication, partBytes } from './fleet-publication.ts';
import { changeOfPool, FleetReplica, maxHeld } from './fleet-replica.ts';
import { changeOf, withChange } from './instance-change.ts';

const sequence = fc.record({
  requestId: fc.constantFrom('r1', 'r2', 'r3', 'r4'),
  state: fc.constantFrom<SequenceStatus['state']>('waiting', 'prefill', 'decode', 'paused'),
  outputTokens: fc.nat(50),
  blocks: fc.nat(9),
  epoch: fc.integer({ min: 1, max: 2 }),
});
const sequences = fc
  .uniqueArray(sequence, { selector: ({ requestId }) => requestId, maxLength: 4 })
  .map((all) => all.map((each) => exampleSequence(each)));

const instanceOf = (instanceId: string): fc.Arbitrary<InstanceView> =>
  fc
    .record({
      sequences,
      freeBlocks: fc.nat(100),
      sequenceNumber: fc.nat(1_000),
      accepting: fc.boolean(),
      incarnation: fc.constantFrom(1, 1, 1, 2),
      stepModel: fc.constantFrom(null, { prefillBaseMs: 1, prefillPerTokenMs: 0, decodeBaseMs: 5, decodePerSequenceMs: 0 }),
      capabilities: fc.constantFrom(['kv_export'], ['kv_export'], ['recompute']),
      health: fc.constantFrom<InstanceView['health']>('healthy', 'suspect', 'dead'),
      cordoned: fc.boolean(),
    })
    .map(({ health, cordoned, ...status }) =>
      exampleInstance({ instanceId, ...status }, { health, cordoned, cordonReason: cordoned ? 'drain' : 'none' }),
    );

/** Through the wire and back: what a reader gets. */
const travelled = (delta: FleetDelta) => FleetDelta.decode(FleetDelta.encode(delta));
const plain = (view: FleetView | undefined) => view && FleetView.decode(FleetView.encode({ ...view, meta: null }));

describe('a change of an instance', () => {
  test('brings what is before to what is after, and says nothing when nothing changed', () => {
    fc.assert(
      fc.property(instanceOf('a'), instanceOf('a'), (before, after) => {
        const change = changeOf(before, after)!;
        const [received] = travelled({
          trackerId: '',
          epoch: 1,
          version: 1,
          baseVersion: 0,
          atMs: 0,
          changed: [change],
          removed: [],
          more: false,
        }).changed;
        const wire = (instance: InstanceView) => plain({ trackerId: '', epoch: 1, version: 1, atMs: 0, instances: [instance], nextAfter: '' });
        expect(wire(withChange(before, received!)!)).toEqual(wire(after));
        expect(changeOf(after, after)).toBeUndefined();
      }),
      { numRuns: 400 },
    );
  });
  test('of 32 sequences that moved on is a tenth of the instance', () => {
    const moved = (outputTokens: number) =>
      exampleInstance({
        instanceId: 'chat-1',
        sequenceNumber: outputTokens,
        sequences: Array.from({ length: 32 }, (_, index) =>
          exampleSequence({
            requestId: `req-${index}-0123456789abcdef`,
            outputTokens: outputTokens + index,
            traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
          }),
        ),
      });
    const size = (before: InstanceView | undefined, after: InstanceView) =>
      FleetDelta.encode({
        trackerId: 't',
        epoch: 1,
        version: 2,
        baseVersion: 1,
        atMs: 0,
        changed: [changeOf(before, after)!],
        removed: [],
        more: false,
      }).length;
    expect(size(moved(100), moved(125))).toBeLessThan(size(undefined, moved(125)) / 10);
  });
  test('that begins to wait, or got another epoch, is told with all that belongs to it', () => {
    const at = (fields: Partial<SequenceStatus>) =>
      exampleInstance({ instanceId: 'a', sequences: [exampleSequence({ requestId: 'r1', ...fields })] });
    expect(changeOf(at({}), at({ state: 'paused' }))?.progress?.added).toEqual([]);
    expect(changeOf(at({}), at({ epoch: 2 }))?.progress?.added).toHaveLength(1);
  });
});

const ids = ['a', 'b', 'c', 'd', 'e'];
type Step =
  | { readonly kind: 'change'; readonly instance: InstanceView; readonly urgent: boolean }
  | { readonly kind: 'forget'; readonly instanceId: string }
  | { readonly kind: 'tell' }
  | { readonly kind: 'takeOver' }
  | { readonly kind: 'ask' };
const id = fc.constantFrom(...ids);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('change' as const), instance: id.chain(instanceOf), urgent: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('forget' as const), instanceId: id }) },
  { weight: 5, arbitrary: fc.constant({ kind: 'tell' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'takeOver' as const }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'ask' as const }) },
);

/** A tracker of which pages are asked for one by one, while it goes on. */
class Tracker {
  readonly current = new Map<string, InstanceView>();
  publication = new FleetPublication('t', () => 100);
  epoch = 0;
  nowMs = 0;

  run(wanted: Step): FleetDelta[] {
    this.nowMs += 30;
    if (wanted.kind === 'change') {
      this.current.set(wanted.instance.status!.instanceId, wanted.instance);
      this.publication.note(wanted.instance.status!.instanceId, wanted.urgent);
    }
    if (wanted.kind === 'forget') {
      this.current.delete(wanted.instanceId);
      this.publication.note(wanted.instanceId, true);
    }
    if (wanted.kind === 'tell' && this.epoch > 0) return this.publication.tell((each) => this.current.get(each), this.nowMs).map(travelled);
    if (wanted.kind === 'takeOver') {
      this.publication = new FleetPublication('t', () => 100);
      return this.publication.begin(++this.epoch, [...this.current.values()], this.nowMs).map(travelled);
    }
    return [];
  }

  /** What readers were told, all pages at one time. */
  whole(): FleetView {
    const instances: InstanceView[] = [];
    let page = this.publication.page({ after: '', withoutSequences: false });
    for (;;) {
      instances.push(...page.instances);
      if (page.nextAfter === '') return { ...page, instances, nextAfter: '' };
      page = this.publication.page({ after: page.nextAfter, withoutSequences: false });
    }
  }
}

/** Pages of two instances, as a tracker gives them for many and large ones. */
function smallPage(tracker: Tracker, after: string): FleetView {
  const { instances, ...page } = tracker.whole();
  const rest = instances.filter(({ status }) => status!.instanceId > after);
  return FleetView.decode(FleetView.encode({ ...page, instances: rest.slice(0, 2), nextAfter: rest.length > 2 ? rest[1]!.status!.instanceId : '' }));
}

describe('a reader', () => {
  test('who gets every difference has the view that was told, and hears of exactly what changed', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const tracker = new Tracker();
        const replica = new FleetReplica();
        const told = new Map<string, InstanceView>();
        for (const each of [{ kind: 'takeOver' } as const, ...steps]) {
          for (const delta of tracker.run(each)) {
            for (const change of replica.take(delta)) {
              if (change.whole) told.clear();
              for (const gone of change.removed) told.delete(gone);
              for (const instance of change.changed) told.set(instance.status!.instanceId, instance);
            }
          }
          expect(replica.behind()).toBe(false);
          expect(plain(replica.view())).toEqual(plain(tracker.whole()));
          expect([...told.keys()].sort().map((each) => told.get(each))).toEqual(replica.view()!.instances);
        }
      }),
      { numRuns: 150 },
    );
  });

  test('whatever is lost, repeated or out of order, and whenever pages come, has a view that was told, and the newest in the end', () => {
    const fate = fc.record({ lost: fc.boolean(), repeats: fc.nat(1), delay: fc.nat(6) });
    fc.assert(
      fc.property(fc.array(fc.tuple(step, fate), { maxLength: 80 }), (steps) => {
        const tracker = new Tracker();
        const replica = new FleetReplica();
        const told = new Map<string, FleetView | undefined>();
        const onTheWay: { readonly at: number; readonly delta: FleetDelta }[] = [];
        let after: string | undefined;
        const remember = () => told.set(`${tracker.publication.header.epoch}.${tracker.publication.header.version}`, plain(tracker.whole()));
        const check = () => {
          const view = replica.view();
          if (view) expect(plain(view)).toEqual(told.get(`${view.epoch}.${view.version}`));
        };
        for (const [index, [each, { lost, repeats, delay }]] of [
          [{ kind: 'takeOver' } as Step, { lost: true, repeats: 0, delay: 0 }] as const,
          ...steps,
        ].entries()) {
          for (const delta of tracker.run(each)) {
            remember();
            if (!lost) for (let copy = 0; copy <= repeats; copy++) onTheWay.push({ at: index + delay * copy + delay, delta });
          }
          for (const message of onTheWay.filter(({ at }) => at === index)) replica.take(message.delta);
          if (each.kind === 'ask' || after !== undefined) {
            if (after === undefined) replica.startCollecting();
            const page = smallPage(tracker, after ?? '');
            const taken = replica.takePage(page, after ?? '');
            after = taken === false || page.nextAfter === '' ? undefined : page.nextAfter;
          }
          check();
        }
        replica.startCollecting();
        let page = smallPage(tracker, '');
        replica.takePage(page, '');
        while (page.nextAfter !== '') {
          const from = page.nextAfter;
          page = smallPage(tracker, from);
          replica.takePage(page, from);
        }
        expect(plain(replica.view())).toEqual(plain(tracker.whole()));
        expect(replica.behind()).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  test('holds no more than its limit, and says that it is behind', () => {
    const tracker = new Tracker();
    const replica = new FleetReplica();
    tracker.run({ kind: 'takeOver' });
    for (let index = 0; index < 3 * maxHeld; index++) for (const delta of tracker.run({ kind: 'tell' })) replica.take(delta);
    expect(replica.behind()).toBe(true);
    expect(replica.view()).toBeUndefined();
    replica.takePage(tracker.whole(), '');
    expect(replica.view()?.version).toBe(tracker.publication.header.version);
  });

  test('of one pool sees an instance go that went over to another', () => {
    const changed = [exampleInstance({ instanceId: 'a' }), exampleInstance({ instanceId: 'b', pool: 'code' })];
    const change = { trackerId: 't', epoch: 1, version: 2, atMs: 0, whole: false, changed, removed: ['c'] };
    expect(changeOfPool(change, 'chat')).toMatchObject({ changed: [changed[0]], removed: ['c', 'b'] });
  });
});

describe('a fleet larger than a message', () => {
  const large = (count: number) =>
    Array.from({ length: count }, (_, index) =>
      exampleInstance({
        instanceId: `chat-${String(index).padStart(5, '0')}`,
        sequences: Array.from({ length: 32 }, (_, each) => exampleSequence({ requestId: `req-${index}-${each}`, gatewayId: 'ü'.repeat(30) })),
      }),
    );

  test('begins in parts that count only together, and is asked for in pages; no message exceeds the limit of the bus', () => {
    const instances = large(500);
    const publication = new FleetPublication('t', () => 1_000);
    const deltas = publication.begin(1, instances, 0);
    expect(deltas.length).toBeGreaterThan(4);
    expect(Math.max(...deltas.map((delta) => FleetDelta.encode(delta).length))).toBeLessThan(3 * partBytes);
    const replica = new FleetReplica();
    for (const delta of deltas.slice(0, -1)) expect(replica.take(delta)).toEqual([]);
    expect(replica.view()).toBeUndefined();
    expect(replica.take(deltas.at(-1)!).map(({ whole, changed }) => [whole, changed.length])).toEqual([[true, 500]]);
    const pages: FleetView[] = [publication.page({ after: '', withoutSequences: false })];
    while (pages.at(-1)!.nextAfter !== '') pages.push(publication.page({ after: pages.at(-1)!.nextAfter, withoutSequences: false }));
    expect(pages.length).toBeGreaterThan(4);
    expect(pages.flatMap((page) => page.instances)).toEqual(replica.view()!.instances);
  });

  test('changes in as many messages as it takes, each of which makes a view', () => {
    const publication = new FleetPublication('t', () => 1_000);
    const replica = new FleetReplica();
    for (const delta of publication.begin(1, [], 0)) replica.take(delta);
    const instances = new Map(large(300).map((instance) => [instance.status.instanceId, instance]));
    for (const each of instances.keys()) publication.note(each, true);
    const deltas = publication.tell((each) => instances.get(each), 50);
    expect(deltas.length).toBeGreaterThan(2);
    for (const delta of deltas) expect(replica.take(delta)).toHaveLength(1);
    expect(replica.view()?.instances).toEqual([...instances.values()]);
  });

  test('what only moves tokens on waits until the instance was quiet for long enough; what matters takes nothing else along', () => {
    const publication = new FleetPublication('t', () => 1_000);
    const both = ['a', 'b'].map((instanceId) => exampleInstance({ instanceId }));
    publication.begin(1, both, 0);
    const later = new Map(['a', 'b'].map((instanceId) => [instanceId, exampleInstance({ instanceId, sequenceNumber: 2 })]));
    publication.note('a', false);
    publication.note('b', true);
    const changedAt = (nowMs: number) =>
      publication.tell((each) => later.get(each), nowMs).flatMap(({ changed }) => changed.map(({ instanceId }) => instanceId));
    expect(publication.nextDueMs()).toBe(0);
    expect(changedAt(50)).toEqual(['b']);
    expect(publication.nextDueMs()).toBe(1_000);
    expect(changedAt(999)).toEqual([]);
    expect(changedAt(1_000)).toEqual(['a']);
    expect(publication.nextDueMs()).toBe(Number.POSITIVE_INFINITY);
  });
});
