import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { InstanceStatus, InstanceView, RequestInfo } from '../../proto/gen/messages.ts';
import { decideBatch } from './batch.ts';
import { decide } from './decide.ts';
import { recordedCandidatesMax } from './decision-record.ts';
import { defaultProfile, type RoutingProfile } from './profile.ts';
import { replayDecision } from './replay.ts';
import { anInstance, aRequest, aSequence, aView } from './routing-fixtures.ts';
import { RoutingMemory } from './routing-memory.ts';

const profile = defaultProfile;

function knowing(instances: readonly InstanceView[], memory = new RoutingMemory()): RoutingMemory {
  memory.takeView(aView(instances), 1000);
  return memory;
}

function tableOf(memory: RoutingMemory, instances: readonly InstanceView[]) {
  return knowing(instances, memory).fleet.pool('chat');
}

function decideOn(instances: readonly InstanceView[], request: RequestInfo, memory = new RoutingMemory(), seed = 1, using: RoutingProfile = profile) {
  const table = tableOf(memory, instances);
  return decide(
    table,
    memory.hintsOf(request, table),
    { version: 1, epoch: 1, ageMs: 1000 },
    { request, profile: using, nowMs: 2000, seed, routerId: 'router-1' },
  );
}

describe('filters', () => {
  const full: Partial<InstanceStatus> = { running: 32, waiting: 4, freeBlocks: 1500 };
  test.each<[string, InstanceView, Partial<RequestInfo>, string]>([
    ['a dead instance', anInstance('x', {}, { health: 'dead' }), {}, 'health'],
    ['a suspect instance while a healthy one is there', anInstance('x', {}, { health: 'suspect' }), {}, 'health'],
    ['a cordoned instance', anInstance('x', {}, { cordoned: true }), {}, 'cordon'],
    ['an instance that does not accept', anInstance('x', { accepting: false }), {}, 'accepting'],
    ['an instance where the request failed', anInstance('x'), { avoidInstances: ['x'] }, 'avoid'],
    ['an instance whose context is too short', anInstance('x', { maxContextTokens: 100 }), {}, 'context'],
    ['an instance with too few blocks ever', anInstance('x', { totalBlocks: 6, freeBlocks: 6 }), {}, 'context'],
    ['an instance with no place', anInstance('x', full), {}, 'saturation'],
    ['an instance with no blocks left', anInstance('x', { running: 1, freeBlocks: 6 }), {}, 'saturation'],
    ['an instance whose free blocks its queue wants', anInstance('x', { running: 1, freeBlocks: 20, waitingBlocks: 15 }), {}, 'saturation'],
  ])('drop %s', (_, instance, request, filter) => {
    const { chosen, record } = decideOn([instance, anInstance('y')], aRequest('r', request));
    expect(chosen?.instanceId).toBe('y');
    expect(record.candidates.find((candidate) => candidate.instanceId === 'x')).toMatchObject({ droppedBy: filter, terms: [] });
  });

  test('instances of another pool are no candidates at all', () => {
    const { chosen, record } = decideOn([anInstance('x', { pool: 'large' }), anInstance('y')], aRequest('r'));
    expect(chosen?.instanceId).toBe('y');
    expect(record.candidates.map((candidate) => candidate.instanceId)).toEqual(['y']);
  });

  test('a suspect instance is better than none', () => {
    expect(decideOn([anInstance('x', {}, { health: 'suspect' })], aRequest('r')).chosen?.instanceId).toBe('x');
  });

  test('a full pool with one suspect instance waits instead', () => {
    const { chosen, record } = decideOn([anInstance('x', {}, { health: 'suspect' }), anInstance('y', full)], aRequest('r'));
    expect(chosen).toBeUndefined();
    expect(record.reason).toBe('all_saturated');
  });

  test('the only instance is used again even when the request failed there', () => {
    expect(decideOn([anInstance('x')], aRequest('r', { avoidInstances: ['x'], epoch: 1 })).chosen?.instanceId).toBe('x');
  });

  test('a continuation may wait at an engine where a new request may not', () => {
    expect(decideOn([anInstance('x', full)], aRequest('r')).refusal?.code).toBe('all_saturated');
    expect(decideOn([anInstance('x', full)], aRequest('r', { epoch: 1, generatedTokens: 5 })).chosen?.instanceId).toBe('x');
  });

  test.each<[string, InstanceView[], string]>([
    ['no instance', [], 'no_instance'],
    ['only cordoned ones', [anInstance('x', {}, { cordoned: true })], 'no_instance'],
    ['full ones beside dead ones', [anInstance('x', full), anInstance('y', {}, { health: 'dead' })], 'all_saturated'],
    ['none with a context long enough', [anInstance('x', { maxContextTokens: 64 })], 'context_length_exceeded'],
  ])('refuse when there is %s', (_, instances, code) => {
    const { refusal } = decideOn(instances, aRequest('r'));
    expect(refusal?.code).toBe(code);
    expect(refusal?.retryable).toBe(code !== 'context_length_exceeded');
  });
});

describe('scores', () => {
  test('prefer the shorter queue', () => {
    const { chosen } = decideOn([anInstance('x', { running: 5 }), anInstance('y', { running: 2 })], aRequest('r'));
    expect(chosen?.instanceId).toBe('y');
  });

  test('prefer more freeness, all queued demand counted', () => {
    const x = anInstance('x', { running: 4, waiting: 1, freeBlocks: 900, waitingBlocks: 800 });
    const y = anInstance('y', { running: 5, waiting: 0, freeBlocks: 500 });
    expect(decideOn([x, y], aRequest('r')).chosen?.instanceId).toBe('y');
  });

  test('prefer the instance with fewer prompt tokens to compute, reported and booked', () => {
    const prompts = (state: 'prefill' | 'decode') => ({ running: 2, sequences: [aSequence('q1', { state, promptTokens: 4_000 }), aSequence('q2')] });
    expect(decideOn([anInstance('x', prompts('prefill')), anInstance('y', prompts('decode'))], aRequest('r')).chosen?.instanceId).toBe('y');
    const memory = knowing([anInstance('x'), anInstance('y')]);
    const placed = (requestId: string, instanceId: string, computeTokens: number) => ({
      ...{ requestId, instanceId, handOffInstanceId: '', computeTokens, epoch: 1, blocks: 10, atMs: 1_000, prefixHashes: [], sessionId: '' },
    });
    memory.place(placed('long', 'x', 4_000));
    memory.place(placed('short', 'y', 40));
    expect(decideOn([anInstance('x'), anInstance('y')], aRequest('r'), memory).chosen?.instanceId).toBe('y');
  });

  test('prefer a cached prefix on an instance that is not more loaded', () => {
    const memory = new RoutingMemory();
    memory.prefixes.add('y', [1, 2, 3, 4]);
    const { chosen, record } = decideOn(
      [anInstance('x', { running: 2 }), anInstance('y', { running: 3 })],
      aRequest('r', { prefixHashes: [1, 2, 3, 4] }),
      memory,
    );
    expect(chosen?.instanceId).toBe('y');
    expect(record.reason).toBe('best_score');
  });

  test('do not follow a prefix onto an instance that is a load span busier', () => {
    const memory = new RoutingMemory();
    memory.prefixes.add('y', [1, 2, 3, 4]);
    const busy = anInstance('y', { running: profile.loadSpan });
    expect(decideOn([anInstance('x'), busy], aRequest('r', { prefixHashes: [1, 2, 3, 4] }), memory).chosen?.instanceId).toBe('x');
  });

  test('follow the session when all else is equal', () => {
    const memory = new RoutingMemory();
    memory.sessions.set('s', 'b');
    for (let seed = 0; seed < 20; seed++) {
      expect(decideOn([anInstance('a'), anInstance('b'), anInstance('c')], aRequest('r', { sessionId: 's' }), memory, seed).chosen?.instanceId).toBe(
        'b',
      );
    }
  });

  test('the weights of the profile decide', () => {
    const memory = new RoutingMemory();
    memory.prefixes.add('y', [1]);
    const instances = [anInstance('x'), anInstance('y', { running: 1 })];
    const only = (name: 'queue' | 'prefix') => ({ ...profile, weights: { queue: 0, prefill: 0, kvHeadroom: 0, prefix: 0, session: 0, [name]: 1 } });
    const request = aRequest('r', { prefixHashes: [1] });
    expect(decideOn(instances, request, memory, 1, only('queue')).chosen?.instanceId).toBe('x');
    expect(decideOn(instances, request, memory, 1, only('prefix')).chosen?.instanceId).toBe('y');
  });

  test('the seed breaks ties, and all tied instances get their share', () => {
    const counts = new Map<string, number>();
    for (let seed = 0; seed < 300; seed++) {
      const { chosen, record } = decideOn([anInstance('a'), anInstance('b'), anInstance('c')], aRequest('r'), undefined, seed);
      expect(record.reason).toBe('tie_break');
      counts.set(chosen!.instanceId, (counts.get(chosen!.instanceId) ?? 0) + 1);
    }
    for (const id of ['a', 'b', 'c']) expect(counts.get(id)).toBeGreaterThan(60);
  });

  test('the weighted picker stays among the best', () => {
    const weighted: RoutingProfile = { ...profile, picker: 'weighted', topK: 2 };
    const instances = [anInstance('a'), anInstance('b', { running: 1 }), anInstance('c', { running: 30 })];
    const chosen = new Set(Array.from({ length: 50 }, (_, seed) => decideOn(instances, aRequest('r'), undefined, seed, weighted).chosen?.instanceId));
    expect(chosen).toEqual(new Set(['a', 'b']));
  });
});

const arbitraryInstance = fc
  .record({
    id: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
    pool: fc.constantFrom('chat', 'chat', 'large'),
    role: fc.constantFrom('mixed' as const, 'mixed' as const, 'decode' as const, 'prefill' as const),
    health: fc.constantFrom('healthy' as const, 'healthy' as const, 'suspect' as const, 'dead' as const),
    cordoned: fc.boolean(),
    accepting: fc.boolean(),
    running: fc.nat({ max: 34 }),
    waiting: fc.nat({ max: 6 }),
    freeBlocks: fc.nat({ max: 400 }),
    waitingBlocks: fc.nat({ max: 100 }),
  })
  .map(({ id, health, cordoned, ...status }) => anInstance(id, status, { health, cordoned }));
const arbitraryFleet = fc.uniqueArray(arbitraryInstance, { selector: (instance) => instance.status!.instanceId, maxLength: 6 });
const arbitraryRequest = fc.record({
  promptTokens: fc.nat({ max: 4000 }),
  epoch: fc.nat({ max: 1 }),
  avoidInstances: fc.subarray(['a', 'b', 'c']),
  prefixHashes: fc.array(fc.nat({ max: 3 }), { maxLength: 4 }),
});

describe('every decision', () => {
  test('chooses a known, living, uncordoned, accepting instance of the pool with a place, or none', () => {
    fc.assert(
      fc.property(arbitraryFleet, arbitraryRequest, fc.nat(), (fleet, partial, seed) => {
        const request = aRequest('r', partial);
        const { chosen, refusal, record } = decideOn(fleet, request, undefined, seed);
        if (!chosen) {
          expect(refusal).not.toBeNull();
          expect(record.instanceId).toBe('');
          return;
        }
        const instance = fleet.find(({ status }) => status!.instanceId === chosen.instanceId)!;
        expect(instance.health).not.toBe('dead');
        expect(instance.cordoned).toBe(false);
        expect(instance.status).toMatchObject({ accepting: true, pool: 'chat', address: chosen.address });
        const waitingRoom = request.epoch > 0 ? 32 : profile.allowedWaiting;
        expect(instance.status!.running + instance.status!.waiting).toBeLessThan(32 + waitingRoom);
      }),
    );
  });

  test('is the same for the same input, in whatever order instances are listed, and from its record alone', () => {
    fc.assert(
      fc.property(arbitraryFleet, arbitraryRequest, fc.nat(), fc.boolean(), (fleet, partial, seed, weighted) => {
        const using: RoutingProfile = weighted ? { ...profile, picker: 'weighted' } : profile;
        const memory = new RoutingMemory();
        memory.prefixes.add('b', [0, 1]);
        const request = aRequest('r', partial);
        const first = decideOn(fleet, request, memory, seed, using);
        expect(decideOn(fleet.toReversed(), request, memory, seed, using)).toEqual(first);
        expect(JSON.stringify(replayDecision(first.record))).toBe(JSON.stringify(first.record));
      }),
    );
  });
});

describe('in a large pool', () => {
  const many = (status: (index: number) => Partial<InstanceStatus> = () => ({})) =>
    Array.from({ length: 500 }, (_, index) => anInstance(`i${String(index).padStart(3, '0')}`, status(index)));

  test('the record keeps the best candidates and the chosen one, and says how many it left out', () => {
    const { chosen, record } = decideOn(many(), aRequest('r'), undefined, 9);
    expect(record.candidates.length).toBeLessThanOrEqual(recordedCandidatesMax + 1);
    expect(record.candidates.map(({ instanceId }) => instanceId)).toContain(chosen!.instanceId);
    expect(record.candidates.length + record.candidatesLeftOut).toBe(500);
    const busy = decideOn(
      many((index) => ({ running: index === 321 ? 1 : 2 + (index % 20) })),
      aRequest('r'),
    );
    expect(busy.chosen!.instanceId).toBe('i321');
    expect(busy.record.candidates.toSorted((a, b) => b.total - a.total)[0]!.instanceId).toBe('i321');
  });

  test('a decision is replayed from its record alone, with the recorded facts of those that were left out', () => {
    const arbitrary = fc.record({ seed: fc.nat(), spread: fc.constantFrom(1, 3, 40), weighted: fc.boolean(), topK: fc.constantFrom(3, 64) });
    fc.assert(
      fc.property(arbitraryRequest, arbitrary, (partial, { seed, spread, weighted, topK }) => {
        const using: RoutingProfile = { ...profile, topK, picker: weighted ? 'weighted' : 'best' };
        const memory = new RoutingMemory();
        memory.prefixes.add('i100', [0, 1]);
        memory.sessions.set('s', 'i200');
        const fleet = many((index) => ({ running: (index * 7) % spread, freeBlocks: 500 + ((index * 13) % 1500) }));
        const { record } = decideOn(fleet, aRequest('r', { ...partial, avoidInstances: ['i007'], sessionId: 's' }), memory, seed, using);
        expect(JSON.stringify(replayDecision(record))).toBe(JSON.stringify(record));
      }),
      { numRuns: 50 },
    );
  });

  test('a refusal is replayed too, and counts who was dropped by what', () => {
    const { record, refusal } = decideOn(
      many((index) => (index < 490 ? { running: 36 } : { accepting: false })),
      aRequest('r'),
    );
    expect(refusal?.code).toBe('all_saturated');
    expect(record.pool!.dropped).toEqual([
      { filter: 'accepting', candidates: 10 },
      { filter: 'saturation', candidates: 490 },
    ]);
    expect(JSON.stringify(replayDecision(record))).toBe(JSON.stringify(record));
  });
});

describe('batches', () => {
  const ask = (requests: readonly RequestInfo[], seeds = requests.map((_, index) => index * 7919)) => ({
    requests,
    profile,
    nowMs: 2000,
    seeds,
    routerId: 'router-1',
  });

  test('are never placed over capacity', () => {
    fc.assert(
      fc.property(arbitraryFleet, fc.array(arbitraryRequest, { maxLength: 120 }), (fleet, partials) => {
        const memory = knowing(fleet);
        const requests = partials.map((partial, index) => aRequest(`r${index}`, { ...partial, epoch: 0 }));
        const results = decideBatch(memory, ask(requests));
        for (const { status } of fleet) {
          const placed = results.filter((result) => result.chosen?.instanceId === status!.instanceId);
          if (placed.length === 0) continue;
          expect(status!.running + status!.waiting + placed.length).toBeLessThanOrEqual(32 + profile.allowedWaiting);
          const blocks = placed.reduce((sum, { placement }) => sum + placement!.blocks, 0);
          const alone = placed.length === 1 && status!.running + status!.waiting === 0;
          if (!alone) expect(blocks + status!.waitingBlocks).toBeLessThanOrEqual(Math.max(status!.freeBlocks, placed[0]!.placement!.blocks));
        }
      }),
    );
  });

  test('with unrelated prompts spread as evenly as round-robin', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 8 }), fc.integer({ min: 1, max: 100 }), fc.nat(), (instances, count, seed) => {
        const fleet = Array.from({ length: instances }, (_, index) => anInstance(`i${index}`));
        const requests = Array.from({ length: Math.min(count, instances * 30) }, (_, index) =>
          aRequest(`r${index}`, { prefixHashes: [index * 2, index * 2 + 1] }),
        );
        const seeds = requests.map((_, index) => seed + index);
        const results = decideBatch(knowing(fleet), ask(requests, seeds));
        const counts = fleet.map(({ status }) => results.filter((result) => result.chosen?.instanceId === status!.instanceId).length);
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
      }),
      { numRuns: 40 },
    );
  });

  test('with one prefix shared by all never pile up higher than the load span', () => {
    const fleet = ['a', 'b', 'c'].map((id) => anInstance(id));
    const requests = Array.from({ length: 60 }, (_, index) => aRequest(`r${index}`, { prefixHashes: [1, 2, 3, 4, 5, 6, 7, 8] }));
    const results = decideBatch(knowing(fleet), ask(requests));
    const counts = ['a', 'b', 'c'].map((id) => results.filter((result) => result.chosen?.instanceId === id).length);
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(profile.loadSpan);
  });

  test('give a request that is asked again the place it has', () => {
    const memory = knowing(['a', 'b', 'c'].map((id) => anInstance(id)));
    const [first] = decideBatch(memory, ask([aRequest('r1')], [5]));
    const [again] = decideBatch(memory, ask([aRequest('r1')], [6]));
    expect(again!.chosen).toEqual({ instanceId: first!.chosen!.instanceId, address: first!.chosen!.address });
    expect(again!.record).toBeUndefined();
    expect(memory.fleet.account.size).toBe(1);
  });

  test('give a request that failed a new place under the next epoch', () => {
    const memory = knowing(['a', 'b'].map((id) => anInstance(id)));
    const [first] = decideBatch(memory, ask([aRequest('r1')]));
    const failed = first!.chosen!.instanceId;
    const [second] = decideBatch(memory, ask([aRequest('r1', { epoch: 1, avoidInstances: [failed] })]));
    expect(second!.chosen!.instanceId).not.toBe(failed);
    expect(memory.fleet.account.booking('r1')).toMatchObject({ epoch: 2 });
  });
});

test('a restarted instance has lost its cache', () => {
  const memory = new RoutingMemory();
  memory.takeView(aView([anInstance('a')]), 0);
  memory.prefixes.add('a', [1]);
  memory.takeView(aView([anInstance('a', { sequenceNumber: 2 })]), 1);
  expect(memory.prefixes.match([1]).size).toBe(1);
  memory.takeView(aView([anInstance('a', { incarnation: 2 })]), 2);
  expect(memory.prefixes.match([1]).size).toBe(0);
});
