import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fits, licensed } from './licences.ts';

const one = (licence: string, development = false) => ({ name: 'x', version: '1', licence, development });

test('every package is under a licence that is known to fit', () => {
  const lock = JSON.parse(readFileSync(join(import.meta.dirname, '../../package-lock.json'), 'utf8'));
  expect(licensed(lock).filter((each) => !fits(each))).toEqual([]);
});

test.each([
  ['MIT', false, true],
  ['(MIT OR GPL-3.0)', false, true],
  ['Apache-2.0 AND MIT', false, true],
  ['MIT AND GPL-3.0', false, false],
  ['MPL-2.0', false, false],
  ['MPL-2.0', true, true],
  ['AGPL-3.0', true, false],
  ['unknown', true, false],
])('%s, for development %s: %s', (licence, development, ok) => {
  expect(fits(one(licence, development))).toBe(ok);
});

test('packages within packages are listed by their own name', () => {
  const lock = {
    packages: { '': {}, 'node_modules/a': { version: '1', license: 'MIT' }, 'node_modules/a/node_modules/@s/b': { version: '2', dev: true } },
  };
  expect(licensed(lock)).toEqual([
    { name: '@s/b', version: '2', licence: 'unknown', development: true },
    { name: 'a', version: '1', licence: 'MIT', development: false },
  ]);
});
