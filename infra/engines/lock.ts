// Writes the lock files of the engine packages anew: node infra/engines/lock.ts, after a change of a package.json here.
// They name no registry. A package for ARM that allows x64 as well is narrowed to ARM, so that x64 does not fetch 20 MB for nothing.
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface Lock {
  readonly packages: Record<string, { name?: string; cpu?: string[] }>;
}

for (const name of ['llama', 'llama-gpu']) {
  const folder = join(import.meta.dirname, name);
  const path = join(folder, 'package-lock.json');
  rmSync(path, { force: true });
  const args = ['install', '--package-lock-only', '--omit-lockfile-registry-resolved', '--ignore-scripts'];
  execFileSync('npm', args, { cwd: folder, stdio: 'inherit' });
  const lock = JSON.parse(readFileSync(path, 'utf8')) as Lock;
  const arm = lock.packages['node_modules/@node-llama-cpp/linux-arm64'];
  if (arm) arm.cpu = ['arm64'];
  writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
}
