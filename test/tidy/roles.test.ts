// What a service may say and hear (lib/roles/roles.ts) is what its README says, and every contract has somebody on both ends.
import { expect, test } from 'vitest';
import * as contracts from '../../lib/contracts.ts';
import { busRole, everyService, roles, userNames } from '../../lib/roles/roles.ts';
import { serviceNames } from '../../lib/run/service.ts';
import { textOf } from './source-files.ts';

const short = (pattern: string) => pattern.replace(/^sy\.v1\./, '');
const patterns = Object.values(contracts).flatMap((contract) => ('pattern' in contract ? [short(contract.pattern)] : []));
const common = new Set(Object.values(everyService).flatMap((all) => (all as readonly { pattern: string }[]).map(({ pattern }) => short(pattern))));

/** `agent.<instance>.reserve | copy` names agent.*.reserve and agent.*.copy. */
function namedIn(section: string): string[] {
  const quoted = [...section.matchAll(/`([^`]+)`/g)].map((match) => match[1]!.replace(/<\w+>/g, '*').replace(/\s*\|\s*/g, '|'));
  const spelled = quoted.flatMap((text) => {
    const [first = '', ...others] = text.split('|');
    const stem = first.slice(0, first.lastIndexOf('.') + 1);
    return [first, ...others.map((last) => stem + last)];
  });
  return [...new Set(spelled.filter((text) => patterns.includes(text)))].toSorted();
}

function section(service: string, title: string): string {
  return textOf(`services/${service}/README.md`).split(`## ${title}\n`)[1]?.split('\n## ')[0] ?? '';
}

test.each(serviceNames)('the README of %s names what its role allows, and nothing else', (service) => {
  const { hears = [], serves = [], consumes = [], publishes = [], asks = [], records = [], reads = [] } = roles[service].bus;
  const own = (of: readonly { pattern: string }[]) => of.map(({ pattern }) => short(pattern));
  const said = new Set(own([...publishes, ...asks, ...records, ...reads]));
  const heard = new Set(own([...hears, ...serves, ...consumes.map(({ topic }) => topic)]));
  const inHears = namedIn(section(service, 'Hears'));
  const inSays = namedIn(section(service, 'Says'));
  const foreign = (named: readonly string[]) => named.filter((name) => !said.has(name) && !heard.has(name) && !common.has(name));
  expect({ missing: [...heard].filter((name) => !inHears.includes(name)).toSorted(), foreign: foreign(inHears) }, 'Hears').toEqual({
    missing: [],
    foreign: [],
  });
  // A service asks for the view that it also hears of: one place is enough.
  const missing = [...said].filter((name) => !inSays.includes(name) && !inHears.includes(name)).toSorted();
  expect({ missing, foreign: foreign(inSays) }, 'Says').toEqual({ missing: [], foreign: [] });
});

test('every contract has somebody who says it and somebody who hears it', () => {
  const all = userNames.map(busRole);
  const said = new Set(all.flatMap(({ publishes, asks, records }) => [...publishes, ...asks, ...records].map(({ pattern }) => short(pattern))));
  const heard = new Set(
    all.flatMap(({ hears, serves, consumes, reads }) =>
      [...hears, ...serves, ...reads, ...consumes.map(({ topic }) => topic)].map(({ pattern }) => short(pattern)),
    ),
  );
  // Recorded for people and for training; nothing here listens.
  const unheard = [short(contracts.scalingDecided.pattern)];
  expect(patterns.filter((name) => !said.has(name))).toEqual([]);
  expect(patterns.filter((name) => !heard.has(name) && !unheard.includes(name))).toEqual([]);
});
