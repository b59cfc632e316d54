// Makes docs/config.md from the schemas, docs/metrics.md from the metrics table, docs/licences.md from package-lock.json, and what infra/observability/render.ts
// makes. `--check` fails when they are not current.
import { readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fleetSchema } from '../../lib/config/fleet.ts';
import { type Setting, settingsOf } from '../../lib/config/schema-walk.ts';
import { environmentSchema } from '../../lib/run/environment.ts';
import { serviceNames } from '../../lib/run/service.ts';
import { type MetricEntry, maxLabelValues, metrics } from '../../lib/telemetry/metrics.ts';
import { observabilityFiles } from '../observability/render.ts';
import { licencesPage } from './licences.ts';

const root = join(import.meta.dirname, '../..');
const camel = (name: string) => name.replace(/-([a-z])/g, (_dash, letter: string) => letter.toUpperCase());
const cell = (text: string) => text.replaceAll('|', '\\|');
const code = (text: string) => `\`${text}\``;

function table(settings: readonly Setting[]): string[] {
  return [
    '| key | default | allowed | what it does |',
    '| --- | --- | --- | --- |',
    ...settings.map((setting) => {
      const value = setting.default === undefined ? 'required' : code(setting.default);
      return `| ${code(setting.key)} | ${cell(value)} | ${cell(setting.range)} | ${cell(setting.about)} |`;
    }),
    '',
  ];
}

async function configPage(): Promise<string> {
  const lines = [
    '# Configuration',
    '',
    'Made by `npm run docs` from the schemas. Files are in `infra/config`, or where `SWITCHYARD_CONFIG_DIR` says: `fleet.yaml`, and one file per',
    'service, which may be missing. An unknown key or a value out of range is refused with its line, all of them at once. A changed file is taken',
    'while running where the service can; a version that is not valid is refused, and the old one stays.',
    '',
    'A top-level key of a service can be set in the environment: `port` of the gateway is `SWITCHYARD_GATEWAY_PORT`. `SWITCHYARD_HOST` and',
    '`SWITCHYARD_LAUNCHER` stand for `host` and `launcher` of every service that has such a key.',
    '',
    '## fleet.yaml',
    '',
    ...table(settingsOf(fleetSchema)),
  ];
  for (const name of serviceNames) {
    const module = await import(join(root, 'services', name, 'config.ts'));
    const settings = settingsOf(module[`${camel(name)}Schema`]).filter(({ key }) => !key.startsWith('fleet'));
    lines.push(`## ${name}.yaml`, '', ...table(settings));
  }
  lines.push('## Environment', '', 'Of every service process.', '', ...table(settingsOf(environmentSchema)));
  return lines.join('\n');
}

function metricsPage(): string {
  const rows = Object.entries(metrics as Record<string, MetricEntry>)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { type, labels, help }]) => `| ${code(name)} | ${type} | ${labels.map(code).join(' ')} | ${cell(help)} |`);
  return [
    '# Metrics',
    '',
    'Made by `npm run docs` from `lib/telemetry/metrics.ts`. Every process serves them on its probe port under `/metrics`, with the usual',
    `\`process_*\` and \`nodejs_*\` beside them. A label takes at most ${maxLabelValues} values in a process; later ones are counted as "other".`,
    '',
    '| name | type | labels | meaning |',
    '| --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n');
}

const pages: [string, string][] = [
  ['docs/config.md', await configPage()],
  ['docs/metrics.md', metricsPage()],
  ['docs/licences.md', licencesPage(root)],
  ...observabilityFiles(),
];
const check = process.argv.includes('--check');
for (const [name, text] of pages) {
  const path = join(root, name);
  if (!check) writeFileSync(path, text);
  else if (current(path) !== text) {
    console.error(`${relative(process.cwd(), path)} is not current: run \`npm run docs\``);
    process.exitCode = 1;
  }
}

function current(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
