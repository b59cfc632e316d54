// A YAML file and where in it each setting stands.
import { isCollection, isMap, isPair, LineCounter, type Node, parseDocument } from 'yaml';
import type { Path } from './schema-walk.ts';

export interface YamlFile {
  readonly name: string;
  /** {} for a file without content. */
  readonly value: unknown;
  /** What the parser refused, as file:line:column: message. */
  readonly errors: readonly string[];
  /** file:line:column of the value at a path, or of its key; of the nearest thing around it when it is not there. */
  locate(path: Path, atKey: boolean): string;
}

export function readYaml(name: string, text: string): YamlFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true, logLevel: 'silent' });
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${name}:${line}:${col}`;
  };
  // A tag or a directive that nobody knows is a mistake too.
  const errors = [...document.errors, ...document.warnings].map((error) => `${place(error.pos[0])}: ${error.message}`);

  function locate(path: Path, atKey: boolean): string {
    let node: Node | null = document.contents;
    let found = node?.range?.[0] ?? 0;
    for (const [index, key] of path.entries()) {
      if (!isCollection(node)) break;
      const last = index === path.length - 1;
      if (isMap(node)) {
        const pair = node.items.find((item) => isPair(item) && String((item.key as { value?: unknown })?.value ?? item.key) === String(key));
        if (!pair) break;
        const keyNode = pair.key as unknown as Node | null;
        node = pair.value as Node | null;
        found = (last && atKey ? keyNode?.range?.[0] : (node?.range?.[0] ?? keyNode?.range?.[0])) ?? found;
      } else {
        node = (node.get(key, true) as Node | undefined) ?? null;
        found = node?.range?.[0] ?? found;
      }
    }
    return place(found);
  }

  let value: unknown = {};
  if (errors.length === 0) {
    try {
      value = document.toJS() ?? {};
    } catch (thrown) {
      // Aliases are looked up only now: of an anchor that is not there, or so many of one another that they would fill the memory.
      errors.push(`${place(0)}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    }
  }
  return { name, value, errors, locate };
}
