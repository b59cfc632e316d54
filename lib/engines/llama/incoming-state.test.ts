import { expect, test } from 'vitest';
import { IncomingState } from './incoming-state.ts';

const piece = (block: number, offset: number, text: string, version = 7) => ({ block, offset, blockBytes: 8, version, payload: Buffer.from(text) });

test('pieces make up the state in any order, repeats are harmless', () => {
  const state = new IncomingState(1_000);
  for (const one of [piece(1, 4, 'mnop'), piece(0, 4, 'efgh'), piece(0, 4, 'efgh'), piece(1, 0, 'ijkl')]) expect(state.write(one)).toBeUndefined();
  expect(state.missing([7, 7])).toEqual([0]);
  expect(state.whole()).toEqual([{ block: 1, version: 7 }]);
  state.write(piece(0, 0, 'abcd'));
  expect(state.missing([7, 7])).toEqual([]);
  expect(Buffer.from(state.bytes(2)).toString()).toBe('abcdefghijklmnop');
});

test('blocks of two saves do not make up one', () => {
  const state = new IncomingState(1_000);
  state.write(piece(0, 0, 'abcdefgh', 7));
  state.write(piece(1, 0, 'ijklmnop', 9));
  state.write(piece(1, 0, 'XXXXXXXX', 7));
  expect(state.missing([9, 9])).toEqual([0]);
  expect(state.missing([7, 7])).toEqual([1]);
});

test('what no sequence needs is refused, and so is a piece that leaves its block', () => {
  const state = new IncomingState(16);
  expect(state.write(piece(2, 0, 'abcd'))).toMatchObject({ code: 'kv_too_large' });
  expect(state.write(piece(0, 6, 'abcd'))).toMatchObject({ code: 'invalid_request' });
});
