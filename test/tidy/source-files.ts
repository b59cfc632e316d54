// The files of the repository as the tidy tests look at them.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

export const root = join(import.meta.dirname, '../..');

/** Not ours, or made by others' programs. */
const skipped = new Set(['node_modules', '.git', '.switchyard', 'coverage', 'dist', 'proto/gen', 'test/histories', 'test/workflows/histories']);

/** Paths from the root, sorted. */
export function filesUnder(folder: string): string[] {
  const found: string[] = [];
  const visit = (path: string) => {
    for (const entry of readdirSync(join(root, path), { withFileTypes: true })) {
      const inside = path === '' ? entry.name : `${path}/${entry.name}`;
      if (skipped.has(inside) || skipped.has(entry.name)) continue;
      if (entry.isDirectory()) visit(inside);
      else if (entry.isFile()) found.push(inside);
    }
  };
  visit(folder);
  return found.sort();
}

export const layers = ['core', 'lib', 'services', 'workflows', 'infra', 'cli', 'test', 'proto'] as const;

export function typescriptFiles(): string[] {
  return layers.flatMap((layer) => filesUnder(layer)).filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'));
}

export function textOf(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

/** Tests, and what only tests use. */
export function isTestCode(path: string): boolean {
  return path.startsWith('test/') || /(\.test|-fixtures)\.ts$|\/scripted-[a-z-]+\.ts$|\/testing\//.test(path);
}

export interface Import {
  /** A path from the root for files of ours, otherwise the package's name as written. */
  readonly target: string;
  readonly typeOnly: boolean;
  readonly ours: boolean;
}

const importPattern = /^\s*(?:import|export)\s+(type\s+)?(?:[^'"]*?\sfrom\s+)?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/gm;

export function importsOf(path: string): Import[] {
  return [...withoutComments(textOf(path)).matchAll(importPattern)].map((match) => {
    const written = match[2] ?? match[3] ?? '';
    const ours = written.startsWith('.');
    return { target: ours ? relative(root, join(root, dirname(path), written)) : written, typeOnly: match[1] !== undefined, ours };
  });
}

/** Comments become empty, line numbers stay. Good enough for code that the formatter has been over. */
export function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ' ')).replace(/(^|[\s;{}(),])\/\/[^\n]*/g, '$1');
}
