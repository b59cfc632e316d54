// What is wrong with a configuration, in plain words: one problem for each thing to change.
import type { z } from 'zod';
import { type Path, schemaAt, shapeOf } from './schema-walk.ts';
import { suggest } from './suggest.ts';

export interface Problem {
  readonly path: Path;
  /** The key itself is at fault, not its value. */
  readonly atKey: boolean;
  readonly text: string;
}

type Issue = z.core.$ZodIssue;

/** `value` is what was checked: the messages show what stands there. */
export function problemsOf(issues: readonly Issue[], schema: z.ZodType, value: unknown): Problem[] {
  const wrongType = new Set(issues.filter((issue) => issue.code === 'invalid_type').map((issue) => keyText(issue.path)));
  // Where the type is wrong, nothing else about the value is worth saying.
  const telling = issues.filter(
    (issue) => issue.code === 'invalid_type' || issue.code === 'unrecognized_keys' || !wrongType.has(keyText(issue.path)),
  );
  return telling.flatMap((issue) => problemsOfOne(issue, schema, value));
}

function problemsOfOne(issue: Issue, schema: z.ZodType, value: unknown): Problem[] {
  const { path } = issue;
  const found = valueAt(value, path);
  const at = (text: string): Problem[] => [{ path, atKey: false, text: `${name(path)}${text}` }];
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey(key, path, schema));
    case 'invalid_type':
      if (found === undefined) return [{ path, atKey: false, text: `"${keyText(path)}" is required` }];
      return at(`must be ${typeNames[issue.expected] ?? issue.expected}, not ${shown(found)}`);
    case 'too_small':
      return at(
        `must be ${issue.inclusive === false ? 'more than' : 'at least'} ${limit(issue.minimum, issue.origin)}, not ${measured(found, issue.origin)}`,
      );
    case 'too_big':
      return at(
        `must be ${issue.inclusive === false ? 'less than' : 'at most'} ${limit(issue.maximum, issue.origin)}, not ${measured(found, issue.origin)}`,
      );
    case 'invalid_value':
      return at(oneOf(issue.values.map(String), found));
    case 'not_multiple_of':
      return at(`must be a multiple of ${issue.divisor}, not ${shown(found)}`);
    case 'invalid_union':
      return union(issue, schema, value);
    case 'invalid_key':
    case 'invalid_element':
      return issue.issues.flatMap((inner) => problemsOfOne({ ...inner, path: [...path, ...inner.path] } as Issue, schema, value));
    case 'invalid_format':
      return at(`${issue.message.startsWith('Invalid') ? 'has the wrong form' : `must be ${issue.message}`}, not ${shown(found)}`);
    default:
      return [{ path, atKey: false, text: path.length > 0 ? `"${keyText(path)}": ${issue.message}` : issue.message }];
  }
}

const typeNames: Record<string, string> = {
  number: 'a number',
  int: 'a whole number',
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
  object: 'a group of settings',
  record: 'a group of settings',
};

function unknownKey(key: string, path: Path, schema: z.ZodType): Problem {
  const inside = schemaAt(schema, path);
  const known = inside ? Object.keys(shapeOf(inside)) : [];
  const near = suggest(key, known);
  const help = near ? `; did you mean "${near}"?` : known.length > 0 ? `; known are ${known.toSorted().join(', ')}` : '';
  return { path: [...path, key], atKey: true, text: `unknown key "${key}"${path.length > 0 ? ` in "${keyText(path)}"` : ''}${help}` };
}

function oneOf(allowed: readonly string[], found: unknown): string {
  const near = typeof found === 'string' ? suggest(found, allowed) : undefined;
  const list = allowed.length === 1 ? `must be ${allowed[0]}` : `must be one of ${allowed.join(', ')}`;
  return `${list}, not ${shown(found)}${near ? `; did you mean "${near}"?` : ''}`;
}

/** The member of the union that fits best (its problems lie deepest, then are fewest) tells what is wrong. */
function union(issue: Extract<Issue, { code: 'invalid_union' }>, schema: z.ZodType, value: unknown): Problem[] {
  const depth = (issues: readonly Issue[]) => Math.max(0, ...issues.map((inner) => inner.path.length));
  const [best] = issue.errors.toSorted((a, b) => depth(b) - depth(a) || a.length - b.length);
  if (!best || best.length === 0) return [{ path: issue.path, atKey: false, text: `${name(issue.path)}fits none of the allowed forms` }];
  return best.flatMap((inner) => problemsOfOne({ ...inner, path: [...issue.path, ...inner.path] } as Issue, schema, value));
}

export function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (inside, key) => (inside !== null && typeof inside === 'object' ? (inside as Record<PropertyKey, unknown>)[key] : undefined),
    value,
  );
}

/** For example pools[0].sim.speed */
export function keyText(path: Path): string {
  return path.map((key, index) => (typeof key === 'number' ? `[${key}]` : `${index > 0 ? '.' : ''}${String(key)}`)).join('');
}

function name(path: Path): string {
  return path.length === 0 ? '' : `"${keyText(path)}" `;
}

function limit(value: number | bigint, origin: string): string {
  if (origin === 'string') return `${value} characters long`;
  return origin === 'array' ? `${value} entries long` : String(value);
}

function measured(found: unknown, origin: string): string {
  if (origin === 'string' || origin === 'array') return String((found as { length?: number } | undefined)?.length ?? 0);
  return shown(found);
}

function shown(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a group of settings';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
