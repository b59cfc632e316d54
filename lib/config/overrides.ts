// Settings from the environment: SWITCHYARD_<SERVICE>_<KEY> stands for the top-level key of the service's configuration,
// for example SWITCHYARD_GATEWAY_PORT for `port` of the gateway. SWITCHYARD_HOST and SWITCHYARD_LAUNCHER stand for `host`
// and `launcher` of every service that has such a key; the longer name wins. Values are read as YAML.
import { parse } from 'yaml';
import type { z } from 'zod';
import { shapeOf } from './schema-walk.ts';
import { suggest } from './suggest.ts';

export interface Override {
  readonly key: string;
  readonly variable: string;
  readonly value: unknown;
}

export interface Overrides {
  readonly found: readonly Override[];
  /** Variables that look like settings of this service but are none. Said, not refused: others may use such names. */
  readonly warnings: readonly string[];
}

const everyService = ['host', 'launcher'];

export function overridesFor(service: string, schema: z.ZodType, environment: Readonly<Record<string, string | undefined>>): Overrides {
  const keys = Object.keys(shapeOf(schema)).filter((key) => key !== 'fleet');
  const prefix = `SWITCHYARD_${upperSnake(service)}_`;
  const byVariable = new Map(keys.map((key) => [prefix + upperSnake(key), key]));
  const found: Override[] = [];
  const take = (key: string, variable: string) => {
    const text = environment[variable];
    if (text !== undefined && text !== '') found.push({ key, variable, value: scalar(text) });
  };
  for (const key of everyService) {
    if (keys.includes(key) && !environment[prefix + upperSnake(key)]) take(key, `SWITCHYARD_${upperSnake(key)}`);
  }
  for (const [variable, key] of byVariable) take(key, variable);
  const warnings = Object.keys(environment)
    .filter((variable) => variable.startsWith(prefix) && !byVariable.has(variable))
    .toSorted()
    .map((variable) => {
      const near = suggest(variable.slice(prefix.length), keys.map(upperSnake));
      return `${variable} is not a setting of ${service}${near ? `; did you mean ${prefix}${near}?` : ''}`;
    });
  return { found, warnings };
}

/** A value that is not valid YAML is taken as text. */
function scalar(text: string): unknown {
  try {
    return parse(text, { logLevel: 'silent' });
  } catch {
    return text;
  }
}

/** promptTokens and instance-tracker become PROMPT_TOKENS and INSTANCE_TRACKER. */
export function upperSnake(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replaceAll('-', '_')
    .toUpperCase();
}
