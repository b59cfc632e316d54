// Stock llama-servers for tests, with a generated model: on free ports, with a folder for saved slots that they share.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LlamaServer } from '../../infra/setup/llama-server.ts';
import { cacheFolder } from '../../infra/setup/machine-facts.ts';
import { modelFile } from '../../infra/setup/random-model.ts';
import { eventually } from './eventually.ts';
import { freePort } from './ports.ts';

export interface LlamaServers {
  readonly urls: readonly string[];
  readonly slotDir: string;
  /** SIGKILL to one of them. */
  kill(index: number): Promise<void>;
  stop(): Promise<void>;
}

export async function startLlamaServers(server: LlamaServer, count: number): Promise<LlamaServers> {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-llama-server-'));
  const slotDir = mkdtempSync(join(folder, 'slots-'));
  // Slow enough that a stream is still running when it has moved, and the same tokens whatever else is in a batch.
  const model = await modelFile('exact-medium', cacheFolder());
  const children: ChildProcess[] = [];
  const killAll = () => {
    for (const child of children) child.kill('SIGKILL');
  };
  process.once('exit', killAll);
  const urls = await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const port = await freePort();
      const out = openSync(join(folder, `${index}.log`), 'a');
      const args = [
        '-m',
        model,
        '--alias',
        'exact',
        '--host',
        '127.0.0.1',
        '--port',
        String(port),
        '-c',
        '8192',
        '-np',
        '4',
        '-t',
        '1',
        '-fa',
        'off',
      ];
      const child = spawn(server.path, [...args, '--slot-save-path', slotDir, '--metrics'], { stdio: ['ignore', out, out] });
      children.push(child);
      const url = `http://127.0.0.1:${port}`;
      await eventually(`llama-server answers on ${url}`, 60_000, async () => {
        if (child.exitCode !== null) throw new Error(`llama-server exited with ${child.exitCode}`);
        return { ok: (await fetch(`${url}/health`)).ok, seen: 'no answer' };
      });
      return url;
    }),
  );
  const end = async (child: ChildProcess) => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  };
  return {
    urls,
    slotDir,
    kill: (index) => end(children[index]!),
    async stop() {
      process.off('exit', killAll);
      await Promise.all(children.map(end));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
