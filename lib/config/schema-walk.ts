// Looks into a zod schema: which keys there are at a path, with their defaults and ranges. For messages, environment
// overrides and docs/config.md; validation itself is zod's.
import type { z } from 'zod';

export type Path = readonly PropertyKey[];

interface Definition {
  readonly type: string;
  readonly shape?: Record<string, z.ZodType>;
  readonly element?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly innerType?: z.ZodType;
  readonly in?: z.ZodType;
  readonly options?: readonly z.ZodType[];
  readonly getter?: () => z.ZodType;
  readonly defaultValue?: unknown;
  readonly entries?: Record<string, string>;
  readonly values?: readonly unknown[];
}

const definition = (schema: z.ZodType): Definition => (schema as unknown as { def: Definition }).def;

/** The schema without the wrappers that only add a default, optionality or a transformation. */
export function unwrap(schema: z.ZodType): z.ZodType {
  const def = definition(schema);
  if (def.type === 'pipe' && def.in) return unwrap(def.in);
  if (def.type === 'lazy' && def.getter) return unwrap(def.getter());
  return def.innerType ? unwrap(def.innerType) : schema;
}

/** Keys of an object schema with their schemas; empty for anything else. Of a union: those of all its objects. */
export function shapeOf(schema: z.ZodType): Record<string, z.ZodType> {
  const def = definition(unwrap(schema));
  if (def.shape) return def.shape;
  return Object.assign({}, ...(def.options ?? []).map(shapeOf));
}

export function schemaAt(schema: z.ZodType, path: Path): z.ZodType | undefined {
  const [first, ...rest] = path;
  if (first === undefined) return schema;
  const def = definition(unwrap(schema));
  const inner = def.element ?? def.valueType ?? shapeOf(schema)[String(first)];
  return inner && schemaAt(inner, rest);
}

export interface Setting {
  /** For example pools[].sim.speed */
  readonly key: string;
  /** For example whole number, 1 to 4096 */
  readonly range: string;
  /** As YAML; undefined: the setting is required. */
  readonly default: string | undefined;
  readonly about: string;
}

/** Every setting of a schema in the order in which it was declared. */
export function settingsOf(schema: z.ZodType, prefix = ''): Setting[] {
  return Object.entries(shapeOf(schema)).flatMap(([name, inner]) => {
    const key = `${prefix}${name}`;
    const about = inner.description ?? unwrap(inner).description ?? '';
    const plain = unwrap(inner);
    const { type, element } = definition(plain);
    if (type === 'object') return settingsOf(inner, `${key}.`);
    if (type === 'array' && element && Object.keys(shapeOf(element)).length > 0) {
      return [{ key: `${key}[]`, range: 'list', default: defaultOf(inner), about }, ...settingsOf(element, `${key}[].`)];
    }
    return [{ key, range: rangeOf(plain), default: defaultOf(inner), about }];
  });
}

function defaultOf(schema: z.ZodType): string | undefined {
  const def = definition(schema);
  if (def.type === 'default' || def.type === 'prefault') return JSON.stringify(def.defaultValue);
  if (def.type === 'optional') return 'none';
  if (def.innerType) return defaultOf(def.innerType);
  if (def.type === 'pipe' && def.in) return defaultOf(def.in);
  return undefined;
}

function rangeOf(schema: z.ZodType): string {
  const def = definition(schema);
  if (def.type === 'number') return numberRange(schema as z.ZodNumber);
  if (def.type === 'enum') return Object.values(def.entries ?? {}).join(', ');
  if (def.type === 'literal') return (def.values ?? []).map(String).join(', ');
  if (def.type === 'boolean') return 'true, false';
  if (def.type === 'array' && def.element) return `list of: ${rangeOf(unwrap(def.element))}`;
  if (def.type === 'record' && def.valueType) return `map to: ${rangeOf(unwrap(def.valueType))}`;
  if (def.type === 'union') return (def.options ?? []).map((option) => rangeOf(unwrap(option))).join(', or ');
  return def.type === 'string' ? 'text' : def.type;
}

function numberRange(schema: z.ZodNumber): string {
  const { minValue, maxValue } = schema;
  const kind = schema.format === 'safeint' || schema.isInt ? 'whole number' : 'number';
  const bound = (value: number | null) => value !== null && Math.abs(value) < Number.MAX_SAFE_INTEGER;
  if (bound(minValue) && bound(maxValue)) return `${kind}, ${minValue} to ${maxValue}`;
  if (bound(minValue)) return `${kind}, ${minValue} or more`;
  return bound(maxValue) ? `${kind}, ${maxValue} or less` : kind;
}

/** Whether the schema has this key at its top. */
export function hasKey(schema: z.ZodType, key: string): boolean {
  return key in shapeOf(schema);
}
