import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Flow, type PlannedPiece, planTransfer, replanTransfer } from './transfer-plan.ts';

const numbered = (count: number) => Array.from({ length: count }, (_, i) => i);
const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
const loads = (pieces: readonly PlannedPiece[], connections: number) =>
  numbered(connections).map((c) => pieces.filter((piece) => piece.connection === c).reduce((sum, piece) => sum + piece.bytes, 0));

/** Every byte of every flow exactly once. */
function expectExactCover(pieces: readonly Flow[], flows: readonly Flow[]): void {
  const order = (a: Flow, b: Flow) => a.block - b.block || a.offset - b.offset;
  const joined: Flow[] = [];
  for (const piece of [...pieces].sort(order)) {
    expect(piece.bytes).toBeGreaterThan(0);
    const before = joined.at(-1);
    if (before && before.block === piece.block && before.offset + before.bytes === piece.offset) {
      joined[joined.length - 1] = { ...before, bytes: before.bytes + piece.bytes };
    } else joined.push({ block: piece.block, offset: piece.offset, bytes: piece.bytes });
  }
  expect(joined).toEqual([...flows].sort(order).map(({ block, offset, bytes }) => ({ block, offset, bytes })));
}

describe('transfer plan', () => {
  test.each([
    [3, 8, 10, 7],
    [12, 8, 16, 4],
    [28, 8, 32, 4],
    [61, 8, 68, 7],
    [8, 8, 8, 0],
    [0, 4, 0, 0],
  ])('%i blocks over %i connections need %i pieces, %i more than whole blocks', (blocks, connections, pieces, extra) => {
    const plan = planTransfer(numbered(blocks), 4096, Array(connections).fill(1));
    expect(plan).toHaveLength(pieces);
    expect(plan.length - blocks).toBe(extra);
    expect(Math.max(...loads(plan, connections))).toBe((blocks * 4096) / connections);
  });

  test('a connection twice as fast carries twice as much', () => {
    const plan = planTransfer(numbered(30), 1024, [2, 1]);
    expect(loads(plan, 2)).toEqual([20 * 1024, 10 * 1024]);
  });

  test('covers every byte once, loads follow the rates, pieces stay few', () => {
    fc.assert(
      fc.property(
        fc.nat(70),
        fc.integer({ min: 1, max: 64 }),
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 9 }),
        (n, words, rates) => {
          const blockBytes = words * 4;
          const plan = planTransfer(numbered(n), blockBytes, rates);
          expectExactCover(
            plan,
            numbered(n).map((block) => ({ block, offset: 0, bytes: blockBytes })),
          );
          const total = rates.reduce((sum, rate) => sum + rate, 0);
          loads(plan, rates.length).forEach((load, c) => {
            const ideal = (n * blockBytes * rates[c]!) / total;
            expect(load).toBeLessThanOrEqual(ideal + Math.min(blockBytes, 4) + 1e-6);
          });
          if (rates.every((rate) => rate === rates[0])) {
            const rest = n % rates.length;
            const bound = n - rest + (rest === 0 ? 0 : rest + rates.length - gcd(rest, rates.length));
            expect(plan.length).toBeLessThanOrEqual(bound);
          }
        },
      ),
    );
  });

  test('what a lost connection owed is planned again over the others, exactly', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 2, max: 8 }), fc.nat(7), fc.nat(100), (n, connections, lost, done) => {
        const plan = planTransfer(numbered(n), 256, Array(connections).fill(1));
        const owed = plan.filter((piece) => piece.connection === lost % connections);
        const undelivered = owed.slice(Math.floor((owed.length * done) / 101));
        const survivors = Array(connections - 1).fill(1);
        const again = replanTransfer(undelivered, survivors);
        const bytes = undelivered.reduce((sum, piece) => sum + piece.bytes, 0);
        expect(Math.max(0, ...loads(again, survivors.length))).toBeLessThanOrEqual(bytes / survivors.length + 4);
        expect(again.length).toBeLessThanOrEqual(undelivered.length + survivors.length - 1);
        expect(again.reduce((sum, piece) => sum + piece.bytes, 0)).toBe(bytes);
        for (const piece of undelivered) {
          const inside = again.filter((p) => p.block === piece.block && p.offset >= piece.offset && p.offset + p.bytes <= piece.offset + piece.bytes);
          expectExactCover(inside, [piece]);
        }
      }),
    );
  });
});
