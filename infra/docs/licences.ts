// The licences of all that comes with Switchyard, from package-lock.json: makes docs/licences.md, and as a program
// (`npm run licences`) prints every package. A licence that is not known to fit is a failure, for people to decide about.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Licensed {
  readonly name: string;
  readonly version: string;
  readonly licence: string;
  /** For building and testing only: not part of what is deployed. */
  readonly development: boolean;
}

/** Permissive ones. */
const fit = ['MIT', 'ISC', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD', 'BlueOak-1.0.0', 'Unlicense', 'CC0-1.0', 'Python-2.0'];
/** Data, not code: named here, it may be passed on. */
const data = ['CC-BY-4.0'];
/** Changes to its files must be published; tools are used as they come. */
const fitForDevelopment = ['MPL-2.0'];

/** Packages whose package.json names none, so that the lock cannot: from the licence file in the package. */
const lookedUp: Readonly<Record<string, string>> = { unionfs: 'Unlicense' };

interface Lock {
  readonly packages: Readonly<Record<string, { version?: string; license?: string; dev?: boolean; devOptional?: boolean }>>;
}

/** Sorted by name. */
export function licensed(lock: Lock): Licensed[] {
  const found = Object.entries(lock.packages).flatMap(([path, entry]) => {
    if (path === '') return [];
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    const licence = entry.license ?? lookedUp[name] ?? 'unknown';
    return [{ name, version: entry.version ?? '', licence, development: entry.dev === true || entry.devOptional === true }];
  });
  const unique = new Map(found.map((each) => [`${each.name}@${each.version}`, each]));
  return [...unique.values()].toSorted((a, b) => (a.name === b.name ? (a.version < b.version ? -1 : 1) : a.name < b.name ? -1 : 1));
}

/** True when every way of reading it is permissive: "A OR B" needs one that fits, "A AND B" both. */
export function fits({ licence, development }: Licensed): boolean {
  const known = [...fit, ...data, ...(development ? fitForDevelopment : [])];
  const choices = licence.replace(/[()]/g, '').split(' OR ');
  return choices.some((choice) => choice.split(' AND ').every((one) => known.includes(one.trim())));
}

export function licencesPage(root: string): string {
  const all = licensed(JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as Lock);
  const table = (packages: readonly Licensed[]) => {
    const by = Map.groupBy(packages, ({ licence }) => licence);
    return [
      '| licence | packages |',
      '| --- | --- |',
      ...[...by]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([licence, some]) => `| ${licence} | ${some.map(({ name, version }) => `${name} ${version}`).join(', ')} |`),
      '',
    ];
  };
  return [
    '# Licences',
    '',
    'Made by `npm run docs` from `package-lock.json`; `npm run licences` prints one package a line. Switchyard itself is under Apache-2.0. A package under a',
    'licence that is not known to fit fails that command and a test.',
    '',
    'Servers run beside it and are not part of it: nats-server (Apache-2.0), Temporal (MIT), Redis 7 (BSD-3-Clause up to 7.2, RSALv2 or SSPLv1 from 7.4; Valkey,',
    'BSD-3-Clause, does as well), Jaeger (Apache-2.0), Zipkin (Apache-2.0).',
    '',
    '## Deployed',
    '',
    ...table(all.filter(({ development }) => !development)),
    '## For building and testing',
    '',
    ...table(all.filter(({ development }) => development)),
  ].join('\n');
}

if (import.meta.main) {
  const lock = JSON.parse(readFileSync(join(import.meta.dirname, '../../package-lock.json'), 'utf8')) as Lock;
  for (const each of licensed(lock)) {
    process.stdout.write(
      `${each.name} ${each.version}  ${each.licence}${each.development ? '  (development)' : ''}${fits(each) ? '' : '  NOT KNOWN TO FIT'}\n`,
    );
    if (!fits(each)) process.exitCode = 1;
  }
}
