// Configuration: YAML files of the fleet and of every service, and the environment. A configuration or one error that says
// everything that is wrong, never another error, and never a long wait.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { z } from 'zod';
import { SwitchyardError } from '../../../core/errors/switchyard-error.ts';
import { loadConfig } from '../../../lib/config/load.ts';
import { upperSnake } from '../../../lib/config/overrides.ts';
import { settingsOf } from '../../../lib/config/schema-walk.ts';
import { admission } from '../../../services/admission/service.ts';
import { agent } from '../../../services/agent/service.ts';
import { autoscaler } from '../../../services/autoscaler/service.ts';
import { console as operatorConsole } from '../../../services/console/service.ts';
import { gateway } from '../../../services/gateway/service.ts';
import { instanceTracker } from '../../../services/instance-tracker/service.ts';
import { migrationCoordinator } from '../../../services/migration-coordinator/service.ts';
import { router } from '../../../services/router/service.ts';
import { worker } from '../../../services/worker/service.ts';
import { type Chooser, oddNumbers, oddTexts } from '../chooser.ts';
import { count, type Entrance } from '../entrance.ts';
import { mutateBytes } from '../mutate-bytes.ts';

const services = [admission, agent, autoscaler, operatorConsole, gateway, instanceTracker, migrationCoordinator, router, worker].map(
  ({ name, schema }) => ({
    name,
    schema: schema as z.ZodType,
    lines: settingsOf(schema as z.ZodType)
      .filter(({ key }) => !key.startsWith('fleet') && !/[.[]/.test(key))
      .map(({ key, default: value }) => `${key}: ${value ?? '1'}`),
  }),
);
const fleetText = readFileSync(join(import.meta.dirname, '../../../infra/config/fleet.yaml'), 'utf8');
const longestLoadMs = 5_000;

/** Legal YAML that has hurt parsers before. */
const snippets: readonly string[] = [
  '&a [*a]',
  '*nowhere',
  `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]`,
  '<<: [1, 2]',
  '? [a, b]\n: c',
  '? {a: b}\n: c',
  '!!binary "%%%"',
  '!!set {a, b}',
  '!unknown x',
  '--- a\n--- b',
  '%YAML 9.9\n---\na: b',
  '[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[',
  '{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{',
  '- '.repeat(500),
  '['.repeat(1_000),
  '__proto__: {polluted: 1}',
  'constructor: {prototype: {polluted: 1}}',
  'key: |\n\ttab',
  '0x7fffffffffffffffffff: .nan',
  '2001-01-01: .inf',
  '"\\ud800": 1',
];

function mutateText(text: string, chooser: Chooser): string {
  const lines = text.split('\n');
  for (let times = chooser.int(4); times > 0; times--) {
    const at = chooser.int(lines.length + 1);
    const line = lines[at] ?? '';
    const kind = chooser.int(6);
    if (kind === 0) lines.splice(at, 1);
    else if (kind === 1) lines.splice(at, 0, line);
    else if (kind === 2) lines.splice(at, 0, chooser.pick(snippets));
    else if (kind === 3)
      lines[at] = line.replace(/: .*$/, `: ${chooser.chance(0.5) ? String(chooser.pick(oddNumbers)) : JSON.stringify(chooser.pick(oddTexts))}`);
    else if (kind === 4) lines[at] = line.replace(/[\w.-]+/, chooser.pick(oddTexts));
    else lines[at] = `${' '.repeat(chooser.int(5))}${line}`;
  }
  const changed = lines.join('\n');
  if (!chooser.chance(0.3)) return changed;
  return new TextDecoder().decode(mutateBytes(new TextEncoder().encode(changed), [], chooser));
}

export const configEntrance: Entrance = {
  name: 'configuration',
  weight: 3,
  shortInputs: 500,
  batch: 1000,
  async open(_seed, findings) {
    const outcomes = new Map<string, number>();
    return {
      outcomes,
      feed(chooser) {
        const { name, schema, lines } = chooser.pick(services);
        const text = chooser.chance(0.1) ? undefined : mutateText(lines.filter(() => chooser.chance(0.3)).join('\n'), chooser);
        const fleet = chooser.chance(0.6) ? fleetText : mutateText(fleetText, chooser);
        const environment: Record<string, string> = {};
        if (chooser.chance(0.3)) {
          const key = chooser.pick(lines).split(':')[0]!;
          environment[`SWITCHYARD_${upperSnake(name)}_${chooser.chance(0.9) ? upperSnake(key) : 'NOTHING'}`] = chooser.pick([
            ...oddTexts,
            ...snippets,
            ...oddNumbers.map(String),
          ]);
        }
        const startMs = performance.now();
        try {
          loadConfig(schema, { service: name, file: { name: `${name}.yaml`, text }, fleet: { name: 'fleet.yaml', text: fleet }, environment });
          count(outcomes, 'taken');
        } catch (thrown) {
          if (thrown instanceof SwitchyardError && thrown.code === 'invalid_config') count(outcomes, 'refused');
          else findings.thrown('configuration', thrown);
        }
        if (performance.now() - startMs > longestLoadMs)
          findings.add(`a configuration took ${Math.round(performance.now() - startMs)} ms`, `${text}\n${fleet}`);
        if ('polluted' in {}) findings.add('Object.prototype was changed');
      },
      async settle() {},
      async close() {},
    };
  },
};
