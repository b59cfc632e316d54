import { expect, test } from 'vitest';
import { exampleInstance as instance } from './example-fleet.ts';
import { leavesNobody, whyNobody } from './serving.ts';

const one = instance({ instanceId: 'chat-1' });
const two = (fields = {}, view = {}) => instance({ instanceId: 'chat-2', ...fields }, view);

test.each([
  ['nobody', [], true],
  ['a healthy one', [two()], false],
  ['a stale one that is still healthy', [two({}, { stale: true })], false],
  ['a suspect one', [two({}, { health: 'suspect' })], true],
  ['a dead one', [two({}, { health: 'dead' })], true],
  ['a cordoned one', [two({}, { cordoned: true, cordonReason: 'operator' })], true],
  ['one that accepts nothing', [two({ accepting: false })], true],
  ['one of another pool', [two({ pool: 'large' })], true],
] as const)('beside %s the instance is the last that takes requests: %#', (_name, others, expected) => {
  expect(leavesNobody([one, ...others], 'chat', ['chat-1'])).toBe(expected);
});
test('several may leave together', () => {
  expect(leavesNobody([one, two()], 'chat', ['chat-1', 'chat-2'])).toBe(true);
});

test('why nobody takes requests is said of each, in order, and of many in a word', () => {
  const gone = [
    two({ instanceId: 'chat-6' }, { cordoned: true, cordonReason: 'drain' }),
    two({}, { health: 'dead' }),
    two({ instanceId: 'chat-3', accepting: false, setAside: 'engine_overloaded' }),
  ];
  expect(whyNobody([], new Set())).toBe('no instance has reported');
  expect(whyNobody(gone, new Set(['chat-2']))).toBe(
    'no instance takes requests: chat-2 is dead, chat-3 is set aside (engine_overloaded), chat-6 is cordoned',
  );
  const more = [two({ instanceId: 'chat-0' }, { health: 'suspect' }), two({ instanceId: 'chat-1', accepting: false }), ...gone];
  expect(whyNobody(more, new Set(['chat-1']))).toBe(
    'no instance takes requests: chat-0 does not report, chat-1 cannot be reached, chat-2 is dead, and 2 more',
  );
});
