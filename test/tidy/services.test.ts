// Every service has the same shape: the same files, a README with the same sections, a main.ts that does nothing else.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { serviceNames } from '../../lib/run/service.ts';
import { filesUnder, root, textOf } from './source-files.ts';

const shape = ['README.md', 'config.ts', 'actor.ts', 'effects.ts', 'service.ts', 'main.ts'];
const sections = ['Decides', 'Hears', 'Says', 'Owns', 'When it fails'];
/** Files that a service does without, and why. */
const without: Record<string, Record<string, string>> = {
  console: { 'actor.ts': 'it answers questions and keeps no state' },
};
const camel = (name: string) => name.replace(/-([a-z])/g, (_dash, letter: string) => letter.toUpperCase());

test('the folders are the services that lib/run/service.ts names', () => {
  const folders = [...new Set(filesUnder('services').map((path) => path.split('/')[1]))];
  expect(folders.sort()).toEqual([...serviceNames].sort());
});

test.each(serviceNames)('%s has every file', (name) => {
  const missing = shape.filter((file) => without[name]?.[file] === undefined && !existsSync(join(root, 'services', name, file)));
  expect(missing).toEqual([]);
});

test.each(serviceNames)('the README of %s says what it decides, hears, says, owns, and what happens when it fails', (name) => {
  const text = textOf(`services/${name}/README.md`);
  const found = [...text.matchAll(/^## (.+)$/gm)].map((match) => match[1]!).filter((title) => sections.includes(title));
  expect(found).toEqual(sections);
  for (const title of sections) expect(text.split(`## ${title}\n`)[1]?.split('\n## ')[0]?.trim(), title).toBeTruthy();
});

test.each(serviceNames)('main.ts of %s only runs the service', (name) => {
  const lines = textOf(`services/${name}/main.ts`)
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('//'));
  expect(lines).toEqual([
    `import { runService } from '../../lib/run/run-service.ts';`,
    `import { ${camel(name)} } from './service.ts';`,
    `await runService(${camel(name)});`,
  ]);
});

test.each(serviceNames)('config.ts of %s describes every setting, and each has a default', async (name) => {
  const { settingsOf } = await import('../../lib/config/schema-walk.ts');
  const module = await import(join(root, 'services', name, 'config.ts'));
  const settings = settingsOf(module[`${camel(name)}Schema`]).filter(({ key }) => !key.startsWith('fleet.'));
  expect(settings.filter(({ about }) => about === '').map(({ key }) => key)).toEqual([]);
  expect(settings.filter((setting) => setting.default === undefined).map(({ key }) => key)).toEqual([]);
});

test.each(serviceNames)('what %s says only a start takes are settings that it has', async (name) => {
  const { schemaAt } = await import('../../lib/config/schema-walk.ts');
  const { [camel(name)]: service } = await import(join(root, 'services', name, 'service.ts'));
  // An element of a list is named `[]`, which the schema has as a step of its own.
  const pathOf = (setting: string) => setting.replaceAll('[]', '.0').split('.');
  const unknown = (service.fixedSettings ?? []).filter((setting: string) => schemaAt(service.schema, pathOf(setting)) === undefined);
  expect(unknown).toEqual([]);
});
