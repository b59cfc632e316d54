import { expect, test } from 'vitest';
import { exampleInstance as instance } from './example-fleet.ts';
import { leavesNobody } from './serving.ts';

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
