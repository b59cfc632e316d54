// Reads a service's configuration: <service>.yaml (may be missing), fleet.yaml where the schema has `fleet`, then the
// environment. Everything that is wrong is said at once, each with its place. The result is frozen.
import type { z } from 'zod';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { overridesFor } from './overrides.ts';
import { problemsOf } from './problems.ts';
import { hasKey, shapeOf } from './schema-walk.ts';
import { readYaml } from './yaml-file.ts';

export interface ConfigSources {
  readonly service: string;
  /** Shown in messages: the path of <service>.yaml, and its text; undefined when there is no such file. */
  readonly file: { readonly name: string; readonly text: string | undefined };
  /** The same for fleet.yaml. Needed when the schema has `fleet`. */
  readonly fleet?: { readonly name: string; readonly text: string | undefined } | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

export interface LoadedConfig<Config> {
  readonly config: Config;
  readonly warnings: readonly string[];
}

/** @throws SwitchyardError `invalid_config`, its message listing every problem on a line of its own */
export function loadConfig<Config>(schema: z.ZodType<Config>, sources: ConfigSources): LoadedConfig<Config> {
  const own = readYaml(sources.file.name, sources.file.text ?? '');
  const wantsFleet = hasKey(schema, 'fleet');
  const fleet = wantsFleet ? readYaml(sources.fleet?.name ?? 'fleet.yaml', sources.fleet?.text ?? '') : undefined;
  const problems: string[] = [...own.errors, ...(fleet?.errors ?? [])];
  if (!isGroup(own.value)) problems.push(`${own.locate([], false)}: the file must hold "key: value" lines`);
  if (wantsFleet && sources.fleet?.text === undefined) problems.push(`${fleet?.name}: the file is missing; it lists the pools and their instances`);
  if (wantsFleet && isGroup(own.value) && 'fleet' in own.value) {
    problems.push(`${own.locate(['fleet'], true)}: "fleet" does not belong here; the fleet is read from ${fleet?.name}`);
  }
  if (problems.length > 0) throw invalid(problems);

  const overrides = overridesFor(sources.service, schema, sources.environment ?? {});
  const fromEnvironment = Object.fromEntries(overrides.found.map(({ key, value }) => [key, value]));
  const value = { ...(own.value as object), ...fromEnvironment, ...(fleet ? { fleet: fleet.value } : {}) };
  const result = schema.safeParse(value);
  if (!result.success) {
    const inFleet = (issue: z.core.$ZodIssue) => fleet !== undefined && issue.path[0] === 'fleet';
    const ownIssues = result.error.issues.filter((issue) => !inFleet(issue));
    const fleetIssues = result.error.issues.filter(inFleet).map((issue) => ({ ...issue, path: issue.path.slice(1) }));
    const variables = new Map<PropertyKey, string>(overrides.found.map(({ key, variable }) => [key, variable]));
    throw invalid([
      ...problemsOf(ownIssues, schema, value).map(
        (problem) => `${variables.get(problem.path[0] ?? '') ?? own.locate(problem.path, problem.atKey)}: ${problem.text}`,
      ),
      ...(fleet
        ? problemsOf(fleetIssues, shapeOf(schema).fleet!, fleet.value).map(
            (problem) => `${fleet.locate(problem.path, problem.atKey)}: ${problem.text}`,
          )
        : []),
    ]);
  }
  return { config: deepFreeze(result.data), warnings: overrides.warnings };
}

function invalid(problems: readonly string[]): SwitchyardError {
  return new SwitchyardError('invalid_config', `the configuration is not valid:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
}

function isGroup(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

export function deepFreeze<T>(value: T): T {
  if (value !== null && typeof value === 'object' && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}

const secret = /secret|password|token$|apikey|credential/i;

/** The same settings with the values of secrets replaced, for logs. */
export function withoutSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (!isGroup(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      secret.test(key) && typeof inner === 'string' && inner !== '' ? '(hidden)' : withoutSecrets(inner),
    ]),
  );
}
