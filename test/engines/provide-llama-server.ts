// `npm run test:llama-server`: builds llama.cpp's own server from the source that comes with node-llama-cpp, unless one is here, and runs
// its tests. The first time this takes ten minutes of one core.
import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { provideLlama } from '../../infra/setup/llama-package.ts';
import { LlamaServerError, provideLlamaServer } from '../../infra/setup/llama-server.ts';
import { createProgress } from '../../infra/setup/progress.ts';

const root = resolve(import.meta.dirname, '../..');
const progress = createProgress();
try {
  const { path, version } = await provideLlamaServer(progress, await provideLlama(progress));
  progress.say(`  llama-server ${version}, ${path}`);
} catch (thrown) {
  if (!(thrown instanceof LlamaServerError)) throw thrown;
  process.stderr.write(`\n${thrown.message}\n`);
  process.exit(1);
} finally {
  progress.close();
}
const tests = ['--project', 'servers', 'test/engines/llama-server.test.ts', ...process.argv.slice(2)];
const child = spawn(process.execPath, [join(root, 'infra/setup/run-tests.ts'), ...tests], { cwd: root, stdio: 'inherit' });
child.on('exit', (code) => {
  process.exitCode = code ?? 1;
});
