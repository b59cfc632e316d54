import { describe, expect, test } from 'vitest';
// @ts-expect-error plain JavaScript, for a Node that cannot read types
import { staleDependencies } from './bootstrap.mjs';

const lock = (packages: Record<string, { version?: string; optional?: boolean }>) => JSON.stringify({ packages: { '': {}, ...packages } });
const wanted = lock({ 'node_modules/a': { version: '1.0.0' }, 'node_modules/b': { version: '2.0.0', optional: true } });

describe('whether the dependencies are those of package-lock.json', () => {
  test.each([
    ['nothing is installed', undefined, 'they are not installed yet'],
    ['all is there', lock({ 'node_modules/a': { version: '1.0.0' }, 'node_modules/b': { version: '2.0.0' } }), undefined],
    ['an optional one of another platform is not there', lock({ 'node_modules/a': { version: '1.0.0' } }), undefined],
    ['one is missing', lock({ 'node_modules/b': { version: '2.0.0' } }), 'a is missing'],
    ['one is of another version', lock({ 'node_modules/a': { version: '1.0.1' } }), 'package-lock.json has changed'],
  ])('%s', (_name, installed, expected) => {
    expect(staleDependencies(wanted, installed)).toBe(expected);
  });
});
