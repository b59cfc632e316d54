import { describe, expect, it } from 'vitest';
import { readTrace } from './trace-file.ts';

const azure = `TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
`;

describe('readTrace', () => {
  it('reads Azure rows as milliseconds from the first', () => {
    expect(readTrace(azure)).toEqual([
      { atMs: 0, promptTokens: 4808, outputTokens: 10, prefixIds: [] },
      { atMs: 52, promptTokens: 3180, outputTokens: 8, prefixIds: [] },
    ]);
  });

  it('spreads the rows of a Mooncake slot over its three seconds', () => {
    const line = (timestamp: number) => JSON.stringify({ timestamp, input_length: 600, output_length: 5, hash_ids: [0, 1] });
    const rows = readTrace([line(0), line(0), line(3000)].join('\n'));
    expect(rows.map((row) => row.atMs)).toEqual([0, 1500, 3000]);
    expect(rows[0]?.prefixIds).toEqual([0, 1]);
  });

  it.each([
    ['', 'empty'],
    ['a,b\n1,2', 'line 1: the header lacks a column'],
    [`${azure}yesterday,1,2`, 'line 4: TIMESTAMP is not a time'],
    [`${azure}2023-11-16 18:17:05.0,many,2`, 'line 4: ContextTokens is not a whole number'],
    ['{"timestamp":0}', 'line 1: input_length'],
    ['{oops', 'line 1: not JSON'],
  ])('refuses %j and says where', (text, message) => {
    expect(() => readTrace(text)).toThrow(message);
  });
});
