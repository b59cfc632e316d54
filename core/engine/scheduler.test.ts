import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BlockPool } from './block-pool.ts';
import { coefficientsOf } from './profiles.ts';
import { Reservations } from './reservations.ts';
import { Scheduler, type SchedulerOptions } from './scheduler.ts';
import { blocksToSend, blockVersion, outputLength, type Sequence, type SequenceSpec } from './sequence.ts';
import { expectedFromIds } from './token-function.ts';

const coefficients = coefficientsOf('llama-3.1-8b-h100');

function engine(blocks: number, options: Partial<SchedulerOptions> = {}) {
  const pool = new BlockPool({ blocks, blockTokens: 4, kvBytesPerToken: 16 });
  const scheduler = new Scheduler(
    { model: 'm', maxRunning: 4, maxWaiting: 8, prefillChunk: 8, maxContextTokens: 200, prefixCache: true, coefficients, ...options },
    pool,
  );
  const reservations = new Reservations(pool, 4);
  const audit = () =>
    pool.audit([...[...scheduler.running, ...scheduler.waiting].map((s) => s.blocks), ...[...reservations.all()].map((r) => r.blocks)]);
  return { pool, scheduler, reservations, audit };
}

let arrivals = 0;
function spec(key: string, promptIds: number[], maxOutputTokens: number, more: Partial<SequenceSpec> = {}): SequenceSpec {
  return { key, promptIds, outputIds: [], maxOutputTokens, endReason: 'length', priority: 0, arrivalMs: arrivals++, continues: false, ...more };
}

function submit(scheduler: Scheduler, wanted: SequenceSpec): Sequence {
  const sequence = scheduler.submit(wanted);
  if ('code' in sequence) throw new Error(sequence.code);
  return sequence;
}

/** Runs steps until nothing is left, or throws when that takes too long. */
function runOut(scheduler: Scheduler): void {
  for (let steps = 0; steps < 5000; steps++) {
    const plan = scheduler.plan();
    if (!plan) {
      if (scheduler.running.length + scheduler.waiting.length > 0) throw new Error('stuck');
      return;
    }
    scheduler.complete(plan);
  }
  throw new Error('does not end');
}

const outputOf = (sequence: Sequence) => sequence.tokens.slice(sequence.promptLength);
const prompt = (seed: number, length: number) => Array.from({ length }, (_, i) => (seed * 31 + i * 7) % 1000);

describe('scheduler', () => {
  test('a prompt is computed in chunks, then a token comes with each step', () => {
    const { scheduler } = engine(32);
    const sequence = submit(scheduler, spec('a', prompt(1, 20), 3));
    const produced: number[] = [];
    for (let plan = scheduler.plan(); plan; plan = scheduler.plan()) produced.push(scheduler.complete(plan).length);
    expect(produced).toEqual([0, 0, 1, 1, 1]);
    expect(outputOf(sequence)).toEqual(expectedFromIds('m', prompt(1, 20), 3).ids);
    expect(sequence.phase).toBe('ended');
  });

  test('decoding goes on beside a long prefill', () => {
    const { scheduler } = engine(64);
    submit(scheduler, spec('a', prompt(1, 4), 20));
    scheduler.complete(scheduler.plan()!);
    submit(scheduler, spec('b', prompt(2, 40), 2));
    const plan = scheduler.plan()!;
    expect(plan.items.map((item) => [item.sequence.key, item.tokens])).toEqual([
      ['a', 1],
      ['b', 8],
    ]);
  });

  test('higher priority goes first, then the earlier arrival', () => {
    const { scheduler } = engine(64, { maxRunning: 1 });
    for (const [key, priority] of [
      ['late', 0],
      ['urgent', 5],
      ['batch', -1],
    ] as const)
      submit(scheduler, spec(key, prompt(1, 4), 2, { priority }));
    submit(scheduler, spec('first', prompt(1, 4), 2, { arrivalMs: -1 }));
    expect(scheduler.waiting.map((sequence) => sequence.key)).toEqual(['urgent', 'first', 'late', 'batch']);
  });

  test.each([
    ['more than the context', 190, 20, 'context_length_exceeded'],
    ['no output', 190, 0, 'context_length_exceeded'],
    ['more blocks than there are', 100, 60, 'kv_too_large'],
  ])('refuses %s', (_name, promptLength, output, code) => {
    const { scheduler } = engine(32);
    expect(scheduler.submit(spec('a', prompt(1, promptLength), output))).toMatchObject({ code });
  });

  test('a full queue refuses, but not a continuation', () => {
    const { scheduler } = engine(64, { maxRunning: 1, maxWaiting: 1 });
    submit(scheduler, spec('a', prompt(1, 4), 50));
    submit(scheduler, spec('b', prompt(2, 4), 2));
    expect(scheduler.submit(spec('c', prompt(3, 4), 2))).toMatchObject({ code: 'queue_full', retryable: true });
    submit(scheduler, spec('d', prompt(3, 4), 9, { outputIds: [1, 2], continues: true }));
  });

  test('the lower-ranked sequence gives its blocks up, is computed again and says the same', () => {
    const { scheduler, audit } = engine(12, { prefixCache: false });
    const a = submit(scheduler, spec('a', prompt(1, 16), 24));
    const b = submit(scheduler, spec('b', prompt(2, 16), 24));
    runOut(scheduler);
    expect([a.preemptions, b.preemptions > 0]).toEqual([0, true]);
    expect(outputOf(a)).toEqual(expectedFromIds('m', prompt(1, 16), 24).ids);
    expect(outputOf(b)).toEqual(expectedFromIds('m', prompt(2, 16), 24).ids);
    audit();
  });

  test('a second request with the same beginning finds it in the cache', () => {
    const { scheduler } = engine(64);
    submit(scheduler, spec('a', prompt(1, 18), 2));
    runOut(scheduler);
    const again = submit(scheduler, spec('b', prompt(1, 18), 2));
    const exact = submit(scheduler, spec('c', prompt(1, 16), 2));
    runOut(scheduler);
    // The last token is computed in any case, so a prompt of exactly four blocks takes three from the cache.
    expect([again.cachedTokens, exact.cachedTokens]).toEqual([16, 12]);
    expect(outputOf(again)).toEqual(expectedFromIds('m', prompt(1, 18), 2).ids);
  });

  test('a continuation goes on from its tokens', () => {
    const { scheduler } = engine(64);
    const { ids } = expectedFromIds('m', prompt(4, 10), 12);
    const sequence = submit(scheduler, spec('a', prompt(4, 10), 12, { outputIds: ids.slice(0, 7), continues: true }));
    runOut(scheduler);
    expect(outputOf(sequence)).toEqual(ids);
  });

  test('one damaged byte of KV gives wrong tokens', () => {
    const { scheduler, pool } = engine(64);
    const sequence = submit(scheduler, spec('a', prompt(4, 9), 30));
    while (outputLength(sequence) === 0) scheduler.complete(scheduler.plan()!);
    pool.bytes(sequence.blocks[2]!)[3]! ^= 1;
    runOut(scheduler);
    expect(outputOf(sequence)).not.toEqual(expectedFromIds('m', prompt(4, 9), 30).ids);
  });

  test('a sequence removed in the middle of a step frees its blocks at the end of it', () => {
    const { scheduler, pool, audit } = engine(16);
    const sequence = submit(scheduler, spec('a', prompt(4, 9), 30));
    const plan = scheduler.plan()!;
    scheduler.remove(sequence);
    expect(pool.free).toBe(13);
    expect(scheduler.complete(plan)).toEqual([]);
    expect(pool.free).toBe(16);
    audit();
  });

  test('whoever is slow to read or paused is left out', () => {
    const { scheduler } = engine(16);
    const sequence = submit(scheduler, spec('a', prompt(4, 4), 30));
    scheduler.complete(scheduler.plan()!);
    sequence.held = true;
    expect(scheduler.plan()).toBeUndefined();
    sequence.held = false;
    sequence.paused = true;
    expect(scheduler.plan()).toBeUndefined();
  });
});

test('a paused sequence keeps its blocks even when others run out', () => {
  const { scheduler } = engine(12, { prefixCache: false });
  const a = submit(scheduler, spec('a', prompt(1, 16), 30));
  const b = submit(scheduler, spec('b', prompt(2, 16), 20));
  while (outputLength(b) === 0) scheduler.complete(scheduler.plan()!);
  b.paused = true;
  for (let plan = scheduler.plan(); plan; plan = scheduler.plan()) scheduler.complete(plan);
  // The first waits for the lease of the second to end, at the last block it could get.
  expect([a.phase, b.preemptions, b.blocks.length + a.blocks.length]).toEqual(['running', 0, 12]);
  b.paused = false;
  runOut(scheduler);
  expect(outputOf(a)).toEqual(expectedFromIds('m', prompt(1, 16), 30).ids);
  expect(outputOf(b)).toEqual(expectedFromIds('m', prompt(2, 16), 20).ids);
});

describe('a copy stage', () => {
  test('takes full blocks while the sequence goes on and everything at last; a fuller block goes again', () => {
    const { scheduler } = engine(32);
    const sequence = submit(scheduler, spec('a', prompt(1, 8), 30));
    for (let i = 0; i < 3; i++) scheduler.complete(scheduler.plan()!);
    expect(sequence.computed).toBe(10);
    expect(blocksToSend(sequence, new Map(), false, 4)).toEqual([0, 1]);
    expect(
      blocksToSend(
        sequence,
        new Map([
          [0, 4],
          [1, 4],
        ]),
        false,
        4,
      ),
    ).toEqual([]);
    expect(
      blocksToSend(
        sequence,
        new Map([
          [0, 4],
          [1, 3],
        ]),
        true,
        4,
      ),
    ).toEqual([1, 2]);
    expect([0, 1, 2, 3].map((index) => blockVersion(sequence, index, 4))).toEqual([4, 4, 2, 0]);
  });
});

type Operation =
  | { type: 'submit'; seed: number; prompt: number; output: number; priority: number }
  | { type: 'step' }
  | { type: 'remove'; which: number; inStep: boolean }
  | { type: 'pause' | 'hold'; which: number }
  | { type: 'reserve'; blocks: number; ttlMs: number }
  | { type: 'drop'; which: number }
  | { type: 'migrate'; which: number }
  | { type: 'wait'; ms: number };

const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({
    type: fc.constant('submit' as const),
    seed: fc.nat(3),
    prompt: fc.integer({ min: 1, max: 40 }),
    output: fc.integer({ min: 1, max: 30 }),
    priority: fc.integer({ min: -1, max: 1 }),
  }),
  fc.record({ type: fc.constant('step' as const) }),
  fc.record({ type: fc.constant('step' as const) }),
  fc.record({ type: fc.constant('remove' as const), which: fc.nat(), inStep: fc.boolean() }),
  fc.record({ type: fc.constantFrom('pause' as const, 'hold' as const), which: fc.nat() }),
  fc.record({ type: fc.constant('reserve' as const), blocks: fc.integer({ min: 0, max: 12 }), ttlMs: fc.integer({ min: 1, max: 50 }) }),
  fc.record({ type: fc.constant('drop' as const), which: fc.nat() }),
  fc.record({ type: fc.constant('migrate' as const), which: fc.nat() }),
  fc.record({ type: fc.constant('wait' as const), ms: fc.nat(40) }),
);

describe('after any sequence of operations', () => {
  test('no block is leaked or owned twice, nothing gets stuck, and every answer is the expected one', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 120, size: 'max' }), fc.boolean(), (operations, prefixCache) => {
        const source = engine(16, { prefixCache });
        const target = engine(16, { prefixCache });
        const alive: { sequence: Sequence; on: typeof source }[] = [];
        const finished: Sequence[] = [];
        let now = 0;
        let ids = 0;
        const pick = (which: number) => (alive.length > 0 ? alive[which % alive.length] : undefined);
        const step = (on: typeof source, meanwhile = () => {}) => {
          const plan = on.scheduler.plan();
          meanwhile();
          if (!plan) return false;
          for (const { sequence, finishReason } of on.scheduler.complete(plan)) if (finishReason) finished.push(sequence);
          return true;
        };
        const forget = (entry: (typeof alive)[number]) => alive.splice(alive.indexOf(entry), 1);

        for (const op of operations) {
          const entry = 'which' in op ? pick(op.which) : undefined;
          if (op.type === 'submit') {
            const sequence = source.scheduler.submit(spec(`s${ids++}`, prompt(op.seed, op.prompt), op.output, { priority: op.priority }));
            if (!('code' in sequence)) alive.push({ sequence, on: source });
          } else if (op.type === 'step') {
            step(source);
            step(target);
          } else if (op.type === 'wait') {
            now += op.ms;
            for (const side of [source, target]) {
              const due = [...side.reservations.all()].filter((reservation) => reservation.expiresAtMs <= now).length;
              expect(side.reservations.expire(now).expired).toHaveLength(due);
            }
          } else if (op.type === 'reserve') {
            target.reservations.reserve({
              id: `r${ids++}`,
              requestId: 'x',
              epoch: 1,
              purpose: 'cache',
              transferToken: 't',
              blocks: op.blocks,
              ttlMs: op.ttlMs,
              nowMs: now,
            });
          } else if (op.type === 'drop') {
            const all = [...target.reservations.all()];
            target.reservations.drop(all[op.which % Math.max(1, all.length)]?.id ?? 'none');
          } else if (entry && entry.sequence.phase !== 'ended') {
            if (op.type === 'remove') {
              if (op.inStep) step(entry.on, () => entry.on.scheduler.remove(entry.sequence));
              else entry.on.scheduler.remove(entry.sequence);
              forget(entry);
            } else if (op.type === 'pause') entry.sequence.paused = !entry.sequence.paused;
            else if (op.type === 'hold') entry.sequence.held = !entry.sequence.held;
            else if (op.type === 'migrate' && entry.on === source) {
              const moved = migrate(entry.sequence, source, target, `r${ids++}`, now);
              if (moved) {
                forget(entry);
                alive.push({ sequence: moved, on: target });
              }
            }
          }
          source.audit();
          target.audit();
        }

        for (const { sequence } of alive) {
          sequence.paused = false;
          sequence.held = false;
        }
        source.reservations.expire(Number.POSITIVE_INFINITY);
        target.reservations.expire(Number.POSITIVE_INFINITY);
        for (const side of [source, target]) {
          for (let steps = 0; step(side); steps++) expect(steps).toBeLessThan(5000);
          expect(side.scheduler.running.length + side.scheduler.waiting.length).toBe(0);
          side.audit();
          expect(side.pool.free).toBe(side.pool.total);
        }
        for (const sequence of finished) {
          const promptIds = sequence.tokens.slice(0, sequence.promptLength);
          expect(outputOf(sequence)).toEqual(expectedFromIds('m', promptIds, sequence.maxOutputTokens).ids);
        }
      }),
      { numRuns: 150 },
    );
  });
});

/** Moves a sequence by its blocks, in two pieces per block, the way two agents do. */
function migrate(
  sequence: Sequence,
  source: ReturnType<typeof engine>,
  target: ReturnType<typeof engine>,
  id: string,
  nowMs: number,
): Sequence | undefined {
  const wanted = source.pool.blocksFor(sequence.computed);
  const held = target.reservations.reserve({
    id,
    requestId: sequence.key,
    epoch: 2,
    purpose: 'migration',
    transferToken: 't',
    blocks: wanted,
    ttlMs: 10,
    nowMs,
  });
  if ('code' in held) return undefined;
  const versions: number[] = [];
  for (const block of blocksToSend(sequence, new Map(), true, 4)) {
    const version = blockVersion(sequence, block, 4);
    versions[block] = version;
    const bytes = source.pool.bytes(sequence.blocks[block]!);
    for (const [from, to] of [
      [40, 64],
      [0, 40],
    ] as const) {
      const piece = { block, offset: from, blockBytes: 64, version, payload: bytes.slice(from, to) };
      expect(target.reservations.write(held, piece)).toBeUndefined();
    }
  }
  expect(target.reservations.missing(held, versions)).toEqual([]);
  held.computed = sequence.computed;
  const { promptLength, maxOutputTokens, endReason, priority, arrivalMs, tokens } = sequence;
  const moved = target.scheduler.adopt(
    {
      key: `${sequence.key}'`,
      promptIds: tokens.slice(0, promptLength),
      outputIds: tokens.slice(promptLength),
      maxOutputTokens,
      endReason,
      priority,
      arrivalMs,
      continues: true,
    },
    target.reservations.takeOver(held),
    held.computed,
    sequence.cachedTokens,
  );
  source.scheduler.remove(sequence);
  return moved;
}
