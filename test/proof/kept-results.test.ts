import { expect, test } from 'vitest';
import { type KeptResults, merged, type ProofRun, pageTable } from './kept-results.ts';

const machine = { cpu: 'X', cores: 2, memoryGb: 8, kernel: '6', node: 'v24', loadBefore: 0.1, timerLateMs: { p50: 0, p99: 1 } };
const runOf = (startedAt: string): ProofRun => ({ startedAt, command: 'npm run proof', commit: 'abc', machine });
const line = (fault: string, requests: number) => ({ fault, held: true, seconds: 1, requests });
const none: KeptResults = { runs: [], rows: [] };

test('a run replaces the rows that it made, however long the fault lasted, and keeps the others with the run they were made in', () => {
  const first = merged(none, [line('NATS away for 30 s', 1), line('kill -9 a router', 2)], runOf('2026-01-01'));
  const second = merged(first, [line('NATS away for 5 s', 3)], runOf('2026-01-02'));
  expect(second.rows.map(({ fault, requests, run }) => [fault, requests, run])).toEqual([
    ['NATS away for 5 s', 3, 1],
    ['kill -9 a router', 2, 0],
  ]);
  const third = merged(second, [line('kill -9 a router', 4)], runOf('2026-01-03'));
  expect(third.runs.map(({ startedAt }) => startedAt)).toEqual(['2026-01-02', '2026-01-03']);
});

test('the table names the run of each row and its machine', () => {
  const table = pageTable(merged(none, [{ ...line('kill -9 a | b', 2), held: false, note: 'seen' }], runOf('2026-01-01')));
  expect(table).toContain('| kill -9 a \\| b | **no** | 2 |');
  expect(table).toContain('| 1 | 1 | seen |');
  expect(table).toContain('1. `npm run proof` on 2026-01-01, commit abc; X, 2 cores, 8 GB, Linux 6, Node v24; load before 0.1');
});
