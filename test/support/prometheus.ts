// A real Prometheus for tests, where one is on PATH: it reads the processes of a fleet and is asked queries.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { eventually } from './eventually.ts';
import { freePort } from './ports.ts';

export interface PrometheusSeries {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

export interface TestPrometheus {
  /** The series that a query returns now. @throws Error where Prometheus refuses it */
  query(expr: string): Promise<PrometheusSeries[]>;
  stop(): Promise<void>;
}

export function hasPrometheus(): boolean {
  return spawnSync('prometheus', ['--version'], { stdio: 'ignore' }).status === 0;
}

/** Scrapes what the operator API at `consoleUrl` lists, every second. */
export async function startPrometheus(consoleUrl: string): Promise<TestPrometheus> {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-prometheus-'));
  const port = await freePort();
  const url = `${consoleUrl}/operator/v1/scrape-targets`;
  writeFileSync(
    join(folder, 'prometheus.yml'),
    stringify({
      global: { scrape_interval: '1s' },
      scrape_configs: [{ job_name: 'switchyard', http_sd_configs: [{ url, refresh_interval: '1s' }] }],
    }),
  );
  const args = [`--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`, `--web.listen-address=127.0.0.1:${port}`];
  const child: ChildProcess = spawn('prometheus', args, { stdio: 'ignore' });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  process.once('exit', () => child.kill('SIGKILL'));

  async function stop(): Promise<void> {
    child.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  }
  try {
    await eventually('Prometheus is ready', 15_000, async () => {
      const response = await fetch(`http://127.0.0.1:${port}/-/ready`);
      return { ok: response.ok, seen: response.status };
    });
  } catch (thrown) {
    await stop();
    throw thrown;
  }
  return {
    stop,
    async query(expr) {
      const response = await fetch(`http://127.0.0.1:${port}/api/v1/query`, { method: 'POST', body: new URLSearchParams({ query: expr }) });
      const answer = (await response.json()) as { status: string; error?: string; data: { result: never[] } };
      if (answer.status !== 'success') throw new Error(`${answer.error}: ${expr}`);
      return answer.data.result;
    },
  };
}
