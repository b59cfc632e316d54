// Changes JSON as text and as values: members taken out, renamed, repeated, nested, and values that make no sense there.
import { type Chooser, oddNumbers, oddTexts } from './chooser.ts';

/** A changed copy of `value` as text; not always valid JSON. */
export function mutateJson(value: unknown, chooser: Chooser): string {
  let changed = structuredClone(value);
  for (let times = chooser.int(4); times > 0; times--) changed = changeValue(changed, chooser);
  const text = JSON.stringify(changed, (_key, inner) => (Object.is(inner, hole) ? undefined : inner)) ?? 'undefined';
  return chooser.chance(0.1) ? brokenText(text, chooser) : text;
}

const hole = Symbol('hole');

function changeValue(value: unknown, chooser: Chooser): unknown {
  if (value === null || typeof value !== 'object' || chooser.chance(0.15)) return oddValue(chooser);
  const entries = Object.entries(value);
  if (entries.length === 0) return oddValue(chooser);
  const [name, inner] = chooser.pick(entries);
  const target = (Array.isArray(value) ? [...value] : { ...value }) as Record<string, unknown>;
  switch (chooser.int(5)) {
    case 0:
      delete target[name];
      break;
    case 1:
      Object.defineProperty(target, chooser.pick(oddTexts), { value: inner, enumerable: true, configurable: true, writable: true });
      break;
    case 2:
      target[name] = Array.from({ length: chooser.length(200) }, () => inner);
      break;
    default:
      target[name] = changeValue(inner, chooser);
  }
  return Array.isArray(value) && Array.isArray(target) ? [...target] : target;
}

function oddValue(chooser: Chooser): unknown {
  switch (chooser.int(8)) {
    case 0:
      return chooser.pick(oddNumbers);
    case 1:
      return chooser.pick(oddTexts);
    case 2:
      return null;
    case 3:
      return chooser.chance(0.5);
    case 4:
      return [];
    case 5:
      return {};
    case 6:
      return nested(chooser.length(300));
    default:
      return Array.from({ length: chooser.length(100) }, () => chooser.pick(oddNumbers));
  }
}

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { a: value };
  return value;
}

function brokenText(text: string, chooser: Chooser): string {
  const at = chooser.int(text.length + 1);
  switch (chooser.int(6)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return `${text}${text}`;
    case 2:
      return text.replace(':', '');
    case 3:
      return `\ufeff${text}`;
    case 4:
      return `${'['.repeat(chooser.length(100_000))}${text}`;
    default:
      return text.slice(0, at) + chooser.pick(oddTexts) + text.slice(at);
  }
}
