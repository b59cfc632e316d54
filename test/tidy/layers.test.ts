// Imports go one way: core <- lib <- services, workflows <- simulator <- cli, test.
import { expect, test } from 'vitest';
import { importsOf, isTestCode, typescriptFiles } from './source-files.ts';

/** What each layer may import besides itself. */
const allowed: Record<string, readonly string[]> = {
  proto: [],
  core: ['proto'],
  lib: ['core', 'proto'],
  services: ['core', 'lib', 'proto'],
  workflows: ['core', 'lib', 'proto'],
  simulator: ['core', 'lib', 'proto', 'services', 'workflows'],
  infra: ['core', 'lib', 'proto'],
  cli: ['core', 'lib', 'proto', 'services', 'workflows', 'simulator', 'infra'],
  test: ['core', 'lib', 'proto', 'services', 'workflows', 'simulator', 'infra', 'cli'],
};

/** File and what it may import across the rule, each with its reason. */
const exceptions: Record<string, { imports: RegExp; because: string }> = {
  'services/worker/service.ts': { imports: /^workflows\//, because: 'the worker is the process that hosts the workflows' },
  'services/worker/effects.ts': { imports: /^workflows\//, because: 'the worker is the process that hosts the workflows' },
};

const files = typescriptFiles();
const layerOf = (path: string) => path.split('/')[0]!;
const serviceOf = (path: string) => (path.startsWith('services/') ? path.split('/')[1] : undefined);

test('imports go one way', () => {
  const wrong = files.flatMap((path) =>
    importsOf(path)
      .filter(({ ours, target }) => {
        const to = layerOf(target);
        const from = layerOf(path);
        return ours && to !== from && to in allowed && !allowed[from]!.includes(to) && !exceptions[path]?.imports.test(target);
      })
      .map(({ target }) => `${path} imports ${target}`),
  );
  expect(wrong).toEqual([]);
});

test('services do not import each other', () => {
  const wrong = files.flatMap((path) => {
    const service = serviceOf(path);
    if (service === undefined) return [];
    return importsOf(path)
      .filter(({ ours, target }) => ours && serviceOf(target) !== undefined && serviceOf(target) !== service)
      .map(({ target }) => `${path} imports ${target}`);
  });
  expect(wrong).toEqual([]);
});

test('nothing imports a main.ts of a service', () => {
  const wrong = files.flatMap((path) =>
    importsOf(path)
      .filter(({ ours, target }) => ours && /^services\/[^/]+\/main\.ts$/.test(target))
      .map(({ target }) => `${path} imports ${target}`),
  );
  expect(wrong).toEqual([]);
});

test('core needs no package, no built-in module with effects, and takes from proto only types', () => {
  const pure = new Set(['node:crypto', 'node:buffer', 'node:util', 'node:assert']);
  const wrong = files
    .filter((path) => path.startsWith('core/') && !isTestCode(path))
    .flatMap((path) =>
      importsOf(path)
        .filter(({ ours, target, typeOnly }) => (ours ? target.startsWith('proto/') && !typeOnly : !pure.has(target)))
        .map(({ target }) => `${path} imports ${target}`),
    );
  expect(wrong).toEqual([]);
});

test('what only tests use is not used by anything else', () => {
  const wrong = files
    .filter((path) => !isTestCode(path))
    .flatMap((path) =>
      importsOf(path)
        .filter(({ ours, target }) => (ours && isTestCode(target)) || ['vitest', 'fast-check'].includes(target))
        .map(({ target }) => `${path} imports ${target}`),
    );
  expect(wrong).toEqual([]);
});

test('every exception is needed', () => {
  const idle = Object.keys(exceptions).filter(
    (path) => !files.includes(path) || !importsOf(path).some(({ target }) => exceptions[path]!.imports.test(target)),
  );
  expect(idle).toEqual([]);
});
