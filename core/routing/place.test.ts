import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { InstanceStatus, InstanceView, RequestInfo } from '../../proto/gen/messages.ts';
import { changeOfView } from '../tracking/fleet-replica.ts';
import { type BatchDecision, decideBatch } from './batch.ts';
import { defaultProfile } from './profile.ts';
import { replayDecision } from './replay.ts';
import { anInstance, aRequest, aSequence, aView } from './routing-fixtures.ts';
import { RoutingMemory } from './routing-memory.ts';

const { disaggregateFromTokens } = defaultProfile;
const long = disaggregateFromTokens + 1_000;

const prefill = (id: string, status: Partial<InstanceStatus> = {}, view: Partial<InstanceView> = {}) =>
  anInstance(id, { role: 'prefill', ...status }, view);
const decode = (id: string, status: Partial<InstanceStatus> = {}, view: Partial<InstanceView> = {}) =>
  anInstance(id, { role: 'decode', ...status }, view);

function knowing(instances: readonly InstanceView[], memory = new RoutingMemory()): RoutingMemory {
  memory.takeView(aView(instances), 1_000);
  return memory;
}

function decided(memory: RoutingMemory, request: RequestInfo, seed = 1): BatchDecision {
  return decideBatch(memory, { requests: [request], profile: defaultProfile, nowMs: 2_000, seeds: [seed], routerId: 'router-1' })[0]!;
}

/** `prefill>decode`, or the one that keeps it. */
function places({ chosen }: BatchDecision): string | undefined {
  return chosen && (chosen.handOff ? `${chosen.instanceId}>${chosen.handOff.instanceId}` : chosen.instanceId);
}

describe('a pool with prefill instances', () => {
  const full: Partial<InstanceStatus> = { running: 32, waiting: 4, freeBlocks: 100 };
  test.each<[string, InstanceView[], number, string, string]>([
    ['a long prompt is computed by one and goes on at the other', [prefill('p'), decode('d')], long, 'p>d', 'pair'],
    ['a short one is computed where it goes on', [prefill('p'), decode('d')], disaggregateFromTokens - 2, 'd', 'short'],
    ['the threshold counts the token that comes next', [prefill('p'), decode('d')], disaggregateFromTokens - 1, 'p>d', 'pair'],
    ['without a prefill instance decode instances compute everything', [decode('d')], long, 'd', ''],
    ['a dead prefill instance', [prefill('p', {}, { health: 'dead' }), decode('d')], long, 'd', 'no_prefill'],
    ['a cordoned prefill instance', [prefill('p', {}, { cordoned: true }), decode('d')], long, 'd', 'no_prefill'],
    ['a prefill instance that accepts nothing', [prefill('p', { accepting: false }), decode('d')], long, 'd', 'no_prefill'],
    ['a prefill instance with no place', [prefill('p', full), decode('d')], long, 'd', 'no_prefill'],
    ['KV of another format', [prefill('p', { kvFormat: 'fp8' }), decode('d', { kvFormat: 'bf16' })], long, 'd', 'no_prefill'],
    ['KV in blocks of another size', [prefill('p', { blockTokens: 32 }), decode('d')], long, 'd', 'no_prefill'],
    ['engines that do not move KV', [prefill('p', { capabilities: [] }), decode('d', { capabilities: [] })], long, 'd', 'no_prefill'],
    ['no room on any decode instance: the prefill instance keeps it', [prefill('p'), decode('d', full)], long, 'p', 'no_decode'],
    ['short ones too', [prefill('p'), decode('d', full)], 50, 'p', 'no_decode'],
    ['the prefill instance with less to compute', [prefill('p', prompts(4_000)), prefill('q', prompts(100)), decode('d')], long, 'q>d', 'pair'],
    ['the prefill instance that fits', [prefill('p', { kvFormat: 'x' }), prefill('q', prompts(9_000)), decode('d')], long, 'q>d', 'pair'],
    ['the decode instance with more room', [prefill('p'), decode('d', { running: 9, freeBlocks: 200 }), decode('e')], long, 'p>e', 'pair'],
  ])('%s', (_, instances, promptTokens, where, reason) => {
    const result = decided(knowing(instances), aRequest('r', { promptTokens, maxOutputTokens: 10 }));
    expect(places(result)).toBe(where);
    expect(result.record).toMatchObject({ rolesReason: reason, handOffInstanceId: result.chosen!.handOff?.instanceId ?? '' });
    expect(JSON.stringify(replayDecision(result.record!))).toBe(JSON.stringify(result.record));
  });

  test('a prompt that is mostly cached on the decode instance is short', () => {
    const memory = knowing([prefill('p'), decode('d')]);
    const prefixHashes = Array.from({ length: 40 }, (_, index) => index);
    const request = aRequest('r', { promptTokens: 40 * 64 + 100, prefixHashes });
    expect(places(decided(memory, request))).toBe('p>d');
    const cached = knowing([prefill('p'), decode('d')]);
    cached.prefixes.add('d', prefixHashes);
    expect(places(decided(cached, request))).toBe('d');
  });

  test('a long continuation is computed like a prompt, and not where it failed', () => {
    const continuing = { promptTokens: 200, generatedTokens: long, epoch: 1, avoidInstances: ['p'] };
    const memory = knowing([prefill('p'), prefill('q'), decode('d')]);
    expect(places(decided(memory, aRequest('r', continuing)))).toBe('q>d');
  });

  test('a refusal says that everybody is full', () => {
    const { chosen, refusal, record } = decided(knowing([prefill('p', full), decode('d', full)]), aRequest('r', { promptTokens: long }));
    expect(chosen).toBeUndefined();
    expect(refusal?.code).toBe('all_saturated');
    expect(JSON.stringify(replayDecision(record!))).toBe(JSON.stringify(record));
  });
});

describe('the account of a pair', () => {
  const fleet = () => [prefill('p'), decode('d'), decode('e')];
  const request = (id: string) => aRequest(id, { promptTokens: long, sessionId: 's', prefixHashes: [1, 2] });
  const booked = (memory: RoutingMemory) => Object.fromEntries(['p', 'd', 'e'].map((id) => [id, memory.fleet.account.correctionOf(id).bookedBlocks]));
  const report = (memory: RoutingMemory, nowMs: number, ...instances: InstanceView[]) =>
    memory.takeChange({ ...changeOfView(aView(instances)), whole: false }, nowMs);

  test('books both, and spreads what goes on', () => {
    const memory = knowing(fleet());
    const first = decided(memory, request('r1'));
    const second = decided(memory, aRequest('r2', { promptTokens: long }));
    expect(new Set([first.chosen!.handOff!.instanceId, second.chosen!.handOff!.instanceId])).toEqual(new Set(['d', 'e']));
    const { blocks } = first.placement!;
    expect(booked(memory)).toEqual({ p: 2 * blocks, d: blocks, e: blocks });
    expect(memory.fleet.account.correctionOf('d')).toMatchObject({ bookedTokens: 0, bookedRequests: 1 });
    expect(memory.sessions.get('s')).toBe(first.chosen!.handOff!.instanceId);
  });

  test('knows the prefix where it goes on once it is there, and not before', () => {
    const memory = knowing(fleet());
    const prefixHashes = Array.from({ length: 40 }, (_, index) => index);
    const alike = (id: string) => aRequest(id, { promptTokens: 40 * 64 + 100, prefixHashes });
    const to = decided(memory, alike('r1')).placement!.handOffInstanceId;
    expect(places(decided(memory, alike('r2')))).toMatch(/^p>/);
    report(memory, 2_500, decode(to, { sequenceNumber: 2, sequences: [aSequence('r1')] }));
    expect(places(decided(memory, alike('r3')))).toBe(to);
  });

  test('holds the blocks where it goes on while the prompt is computed, until it is there', () => {
    const memory = knowing(fleet());
    const { placement } = decided(memory, request('r1'));
    const [to, blocks] = [placement!.handOffInstanceId, placement!.blocks];
    report(memory, 2_100, prefill('p', { sequenceNumber: 2, sequences: [aSequence('r1', { state: 'prefill' })] }));
    expect(booked(memory)).toMatchObject({ p: 0, [to]: blocks });
    report(memory, 9_000, decode(to, { sequenceNumber: 2 }));
    expect(booked(memory)).toMatchObject({ [to]: blocks });
    report(memory, 9_500, decode(to, { sequenceNumber: 3, sequences: [aSequence('r1')] }));
    expect(booked(memory)).toEqual({ p: 0, d: 0, e: 0 });
  });

  test.each<[string, (memory: RoutingMemory, to: string) => void]>([
    ['the request is done', (memory) => memory.fleet.account.done('r1', 2_200)],
    ['it came to nothing', (memory) => memory.fleet.account.forget('r1')],
    ['nobody has it after the grace', (memory) => report(memory, 5_000, prefill('p', { sequenceNumber: 2 }))],
    [
      'the time for hand-offs is over',
      (memory, to) => report(memory, 33_000, prefill('p', { sequenceNumber: 2 }), decode(to, { sequenceNumber: 2 })),
    ],
    [
      'it has a new place under a later epoch',
      (memory) => {
        decided(memory, { ...request('r1'), epoch: 1, avoidInstances: ['p'] });
        memory.fleet.account.forget('r1');
      },
    ],
  ])('lets go when %s', (_, end) => {
    const memory = knowing(fleet());
    const { placement } = decided(memory, request('r1'));
    end(memory, placement!.handOffInstanceId);
    expect(booked(memory)).toEqual({ p: 0, d: 0, e: 0 });
    expect(memory.fleet.account.correctionOf(placement!.handOffInstanceId).bookedRequests).toBe(0);
  });

  test('gives a request that is asked again the same two', () => {
    const memory = knowing(fleet());
    const first = decided(memory, request('r1'), 5);
    const again = decided(memory, request('r1'), 6);
    expect(again.record).toBeUndefined();
    expect(places(again)).toBe(places(first));
  });
});

const arbitraryFleet = fc.uniqueArray(
  fc
    .record({
      id: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
      role: fc.constantFrom('prefill' as const, 'decode' as const, 'decode' as const),
      health: fc.constantFrom('healthy' as const, 'healthy' as const, 'suspect' as const, 'dead' as const),
      cordoned: fc.boolean(),
      kvFormat: fc.constantFrom('', '', 'fp8'),
      running: fc.nat({ max: 34 }),
      freeBlocks: fc.nat({ max: 600 }),
    })
    .map(({ id, health, cordoned, ...status }) => anInstance(id, status, { health, cordoned })),
  { selector: ({ status }) => status!.instanceId, maxLength: 6 },
);

test('every pair is a prefill and a decode instance that read each other’s KV; alone goes who has a reason; all is replayed', () => {
  fc.assert(
    fc.property(arbitraryFleet, fc.nat({ max: 4_000 }), fc.nat({ max: 1 }), fc.nat(), (fleet, promptTokens, epoch, seed) => {
      const of = (id: string) => fleet.find(({ status }) => status!.instanceId === id)!;
      const { chosen, refusal, record, placement } = decided(knowing(fleet), aRequest('r', { promptTokens, epoch }), seed);
      expect(JSON.stringify(replayDecision(record!))).toBe(JSON.stringify(record));
      if (!chosen) {
        expect(refusal).not.toBeNull();
        return;
      }
      const at = of(chosen.instanceId);
      for (const one of [at, ...(chosen.handOff ? [of(chosen.handOff.instanceId)] : [])]) {
        expect(one.health).not.toBe('dead');
        expect(one.cordoned).toBe(false);
      }
      expect(placement!.handOffInstanceId).toBe(chosen.handOff?.instanceId ?? '');
      if (chosen.handOff) {
        expect(promptTokens + 1).toBeGreaterThanOrEqual(disaggregateFromTokens);
        const to = of(chosen.handOff.instanceId);
        expect([at.status!.role, to.status!.role, to.status!.kvFormat]).toEqual(['prefill', 'decode', at.status!.kvFormat]);
      } else if (at.status!.role === 'prefill') expect(record!.rolesReason).toBe('no_decode');
      else expect(['', 'short', 'no_prefill']).toContain(record!.rolesReason);
    }),
  );
});

test('in a large pool the record has what it takes to decide again', () => {
  const fleet = Array.from({ length: 200 }, (_, index) => {
    const [id, status] = [`i${String(index).padStart(3, '0')}`, { running: (index * 7) % 30, freeBlocks: 500 + ((index * 13) % 1500) }];
    return index % 5 === 4 ? prefill(id, status) : decode(id, status);
  });
  const arbitrary = fc.record({ promptTokens: fc.nat({ max: 4_000 }), seed: fc.nat(), gone: fc.constantFrom('', 'prefill', 'decode') });
  fc.assert(
    fc.property(arbitrary, ({ promptTokens, seed, gone }) => {
      const left = fleet.map((instance) => (instance.status!.role === gone ? { ...instance, cordoned: true } : instance));
      const { record } = decided(knowing(left), aRequest('r', { promptTokens, avoidInstances: ['i007'] }), seed);
      expect(record!.candidates.length).toBeLessThanOrEqual(34);
      expect(JSON.stringify(replayDecision(record!))).toBe(JSON.stringify(record));
    }),
    { numRuns: 60 },
  );
});

function prompts(tokens: number): Partial<InstanceStatus> {
  return { running: 1, sequences: [aSequence('q1', { state: 'prefill', promptTokens: tokens })] };
}
