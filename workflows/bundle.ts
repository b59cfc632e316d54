// Bundles the workflows ahead of time, so that a worker starts in a fraction of a second and does not need webpack and
// swc (which unpacks a native file into the temporary directory) where it runs.
//
//   node workflows/bundle.ts [file]     prints where the bundle is
//
// Without a file it goes to .switchyard/, named by the hash of what went in: an unchanged bundle is not made again.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const sources = ['core/errors', 'core/approval', 'core/workflows', 'lib/workflows', 'workflows'];

/**
 * Makes the bundle. The one in .switchyard/ is made only when the sources have changed.
 * @param file where to put it; empty: .switchyard/workflows-<hash>.js
 * @returns its path
 */
export async function bundleWorkflows(file = ''): Promise<string> {
  const target = file === '' ? join(root, '.switchyard', `workflows-${contentHash()}.js`) : resolve(file);
  if (file === '' && existsSync(target)) return target;
  const { bundleWorkflowCode, DefaultLogger } = await import('@temporalio/worker');
  const { code } = await bundleWorkflowCode({
    workflowsPath: join(root, 'workflows/all.ts'),
    workflowInterceptorModules: [join(root, 'lib/workflows/sandbox/interceptors.ts')],
    logger: new DefaultLogger('WARN'),
  });
  mkdirSync(dirname(target), { recursive: true });
  // Two workers may start at once: each writes its own file and the last rename wins, with the same content.
  const partial = `${target}.${process.pid}`;
  writeFileSync(partial, code);
  renameSync(partial, target);
  if (file === '') removeOthers(target);
  return target;
}

/** Over everything that can end up in the bundle. */
function contentHash(): string {
  const hash = createHash('sha256');
  hash.update((createRequire(import.meta.url)('@temporalio/worker/package.json') as { version: string }).version);
  for (const folder of sources) {
    const files = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' });
    for (const name of files.sort()) {
      if (!name.endsWith('.ts') || name.endsWith('.test.ts')) continue;
      hash.update(`${folder}/${name}\n`).update(readFileSync(join(root, folder, name)));
    }
  }
  return hash.digest('hex').slice(0, 16);
}

/** Bundles of earlier sources. A worker that runs one has read it already. */
function removeOthers(kept: string): void {
  for (const name of readdirSync(dirname(kept))) {
    const path = join(dirname(kept), name);
    if (/^workflows-[0-9a-f]{16}\.js$/.test(name) && path !== kept) rmSync(path, { force: true });
  }
}

if (import.meta.main) console.log(await bundleWorkflows(process.argv[2]));
