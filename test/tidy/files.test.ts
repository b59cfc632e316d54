// Names, sizes and contents of files.
import { expect, test } from 'vitest';
import { filesUnder, isTestCode, layers, textOf, typescriptFiles } from './source-files.ts';

/** A suite of cases may be one long list; code may not. */
const maxLines = { code: 400, tests: 700 };
const files = typescriptFiles();
const texts = [...layers, 'docs'].flatMap((folder) => filesUnder(folder)).filter((path) => /\.(ts|mjs|md|yaml|yml|json|proto|csv|sh)$/.test(path));
const topLevel = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'package.json', 'docker-compose.yml'].filter((path) =>
  filesUnder('').includes(path),
);

test('file names are kebab-case nouns', () => {
  const wrong = files.filter((path) => !/^[a-z0-9]+(-[a-z0-9]+)*((\.[a-z]+)?\.test|\.bench)?\.ts$/.test(path.split('/').at(-1)!));
  expect(wrong).toEqual([]);
  const vague = files.filter((path) => /\/(utils?|common|helpers?|misc|manager|stuff)\.ts$|\/(utils?|common|helpers?)\//.test(path));
  expect(vague).toEqual([]);
});

test(`no file is longer than ${maxLines.code} lines, no test than ${maxLines.tests}`, () => {
  const lines = (path: string) => textOf(path).trimEnd().split('\n').length;
  const wrong = files.filter((path) => lines(path) > (isTestCode(path) ? maxLines.tests : maxLines.code)).map((path) => `${path}: ${lines(path)}`);
  expect(wrong).toEqual([]);
});

test('every file begins by saying what it is for', () => {
  const wrong = files.filter((path) => {
    if (path.endsWith('.test.ts') || /^services\/[^/]+\/main\.ts$/.test(path)) return false;
    return !/^(#!.*\n)?(\/\/ \S|\/\*)/.test(textOf(path));
  });
  expect(wrong).toEqual([]);
});

test('no paths of one machine, no marks of unfinished work', () => {
  const patterns = [/\/(home|Users)\/[a-z]+\//, new RegExp('/wor' + 'k/'), /\/tmp\/go/, /\b(TODO|FIXME|XXX|HACK)\b/];
  const wrong = [...texts, ...topLevel]
    .filter((path) => path !== 'test/tidy/files.test.ts')
    .flatMap((path) =>
      textOf(path)
        .split('\n')
        .flatMap((line, index) => (patterns.some((pattern) => pattern.test(line)) ? [`${path}:${index + 1}: ${line.trim().slice(0, 120)}`] : [])),
    );
  expect(wrong).toEqual([]);
});

test('tests are never switched off or narrowed without a reason', () => {
  const wrong = files
    .filter((path) => path.endsWith('.test.ts') && path !== 'test/tidy/files.test.ts')
    .filter((path) => /\b(test|it|describe)\.(only|todo)\b|\b(test|it|describe)\.skip\(/.test(textOf(path)));
  expect(wrong).toEqual([]);
});

test('modules export by name', () => {
  const wrong = files.filter((path) => /^export default /m.test(textOf(path)) && !/^(test|simulator)\/.*scenario/.test(path));
  expect(wrong).toEqual([]);
});
