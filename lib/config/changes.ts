// What differs between two configurations of a service, and which of it a running service can take.
//
// Settings are named by path: port, limits.maxQueued, fleet.pools[chat].max. An element of a list is named by its id; a
// list whose elements have none is one setting. That elements came, went or changed places is a change of fleet.pools[].
import { deepFreeze } from './load.ts';

/**
 * Names for settings that only a start takes, without the ids: `port`; `fleet.pools`, which is all below it; `fleet.pools[]`,
 * which is the set of elements alone; `fleet.pools[].sim`, which is that of every element.
 */
export type FixedSettings = readonly string[];

export interface ConfigChange<Config> {
  /** What the service runs on from now: the new configuration with the old values of what is fixed. */
  readonly config: Config;
  /** Paths that changed and can be taken now, in order of declaration. */
  readonly taken: readonly string[];
  /** Paths that changed and wait for the next start. */
  readonly waiting: readonly string[];
}

export function configChange<Config>(before: Config, after: Config, fixed: FixedSettings): ConfigChange<Config> {
  const taken: string[] = [];
  const waiting: string[] = [];
  const isFixed = (path: string) => {
    const name = path.replace(/\[[^\]]*\]/g, '[]');
    return fixed.some((each) => name === each || (!each.endsWith('[]') && (name.startsWith(`${each}.`) || name.startsWith(`${each}[`))));
  };

  /** The value at `path` from now on. */
  function merge(path: string, old: unknown, now: unknown): unknown {
    if (isGroup(old) && isGroup(now)) {
      const keys = [...new Set([...Object.keys(old), ...Object.keys(now)])];
      const entries = keys.map((key) => [key, merge(path === '' ? key : `${path}.${key}`, old[key], now[key])] as const);
      return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
    }
    if (isListWithIds(old) && isListWithIds(now)) return mergeLists(path, old, now);
    if (JSON.stringify(old) === JSON.stringify(now)) return old;
    const keep = isFixed(path);
    (keep ? waiting : taken).push(path);
    return keep ? old : now;
  }

  function mergeLists(path: string, old: readonly Element[], now: readonly Element[]): Element[] {
    const members = `${path}[]`;
    const sameMembers = old.map(({ id }) => id).join('\n') === now.map(({ id }) => id).join('\n');
    const keep = isFixed(members);
    if (!sameMembers) (keep ? waiting : taken).push(members);
    return (keep ? old : now).map((element) => {
      const [from, to] = [old, now].map((list) => list.find(({ id }) => id === element.id));
      return from && to ? (merge(`${path}[${element.id}]`, from, to) as Element) : element;
    });
  }

  return { config: deepFreeze(merge('', before, after) as Config), taken, waiting };
}

type Group = Readonly<Record<string, unknown>>;
type Element = Group & { readonly id: string };

function isGroup(value: unknown): value is Group {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function isListWithIds(value: unknown): value is Element[] {
  return Array.isArray(value) && value.length > 0 && value.every((element) => isGroup(element) && typeof element.id === 'string');
}
