import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Flow, type PlannedPiece, planTransfer, takePiece } from './transfer-plan.ts';

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

  test('whatever the speeds, every byte is sent once, and no connection is idle while another has much before it', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 8 }).filter((speeds) => speeds.some((speed) => speed > 0)),
        (n, speeds) => {
          const sizes = { most: 512, leastTakenOver: 128 };
          const plan = planTransfer(
            numbered(n),
            1024,
            speeds.map(() => 1),
          );
          const queues: Flow[][] = speeds.map((_, c) => plan.filter((piece) => piece.connection === c));
          const sent: Flow[] = [];
          // Each turn a connection of speed k sends k pieces; one of speed 0 stands still, and keeps less than two cuts' worth.
          for (let turns = 0; turns <= 200 && queues.some((queue) => queue.length > 0); turns++) {
            speeds.forEach((speed, c) => {
              for (let k = 0; k < speed; k++) {
                const piece = takePiece(queues, c, sizes);
                if (piece) sent.push(piece);
              }
            });
          }
          const left = queues.flat();
          queues.forEach((queue, c) => {
            const bytes = queue.reduce((sum, piece) => sum + piece.bytes, 0);
            expect(bytes).toBeLessThan(speeds[c] === 0 ? 2 * sizes.leastTakenOver : 1);
          });
          expectExactCover(
            [...sent, ...left],
            numbered(n).map((block) => ({ block, offset: 0, bytes: 1024 })),
          );
          expect(Math.max(0, ...sent.map(({ bytes }) => bytes))).toBeLessThanOrEqual(sizes.most);
        },
      ),
    );
  });
});
