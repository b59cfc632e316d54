// The gateways that are compared. Each gets the same two engines; ours also stands in front of
// simulated ones (gateway-fleet.ts). A contender that cannot be had on this machine says so and is left out.
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder, onPath } from '../../../infra/setup/machine-facts.ts';
import { freePort } from '../../support/ports.ts';
import { type Child, startChild, startProgram, untilAnswers } from './child-process.ts';
import { treeOf } from './process-cost.ts';
import { run } from './run-command.ts';

export interface Contender {
  readonly name: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Model names behind which engines answer at once, and at the pace of the stream workload. */
  readonly models: { readonly atOnce: string; readonly paced: string };
  /** Process ids whose CPU time counts; `gateway` is the process that clients talk to, with its children. */
  readonly groups: Readonly<Record<string, readonly number[]>> & { readonly gateway: readonly number[] };
  stop(): Promise<void>;
}

export const fakeModel = 'bench';
const models = { atOnce: fakeModel, paced: fakeModel };
const portkeyVersion = '1.15.2';
const smgVersion = '1.13.0';

/** @throws Error with the reason why it cannot be had here */
export type StartContender = (engines: readonly string[]) => Promise<Contender>;

function contender(name: string, url: string, child: Child, headers: Record<string, string> = {}): Contender {
  return { name, url, headers, models, groups: { gateway: treeOf(child.pid) }, stop: () => child.stop() };
}

async function started(name: string, url: string, child: Child, headers?: Record<string, string>, probe = '/v1/models'): Promise<Contender> {
  try {
    await untilAnswers(child, url + probe);
  } catch (thrown) {
    await child.stop();
    throw thrown;
  }
  return contender(name, url, child, headers);
}

const bare: StartContender = async (engines) => {
  const port = await freePort();
  return started('bare', `http://127.0.0.1:${port}`, startProgram('bare-proxy.ts', [String(port), ...engines]));
};

const nginx: StartContender = async (engines) => {
  if (!onPath('nginx')) {
    if (process.getuid?.() !== 0 || !onPath('apt-get')) throw new Error('nginx is not installed (as root it is fetched with apt-get)');
    await run('apt-get', ['install', '-y', '-q', 'nginx-light']);
  }
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'bench-nginx-'));
  const configPath = join(folder, 'nginx.conf');
  writeFileSync(
    configPath,
    `daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log ${folder}/error.log warn;
events { worker_connections 16384; }
http {
  access_log off; client_max_body_size 32m; client_body_buffer_size 1m;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')}
  upstream engines { ${engines.map((url) => `server ${new URL(url).host};`).join(' ')} keepalive 256; keepalive_requests 1000000; }
  server {
    listen 127.0.0.1:${port}; keepalive_requests 1000000;
    location / { proxy_pass http://engines; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }
  }
}\n`,
  );
  const child = startChild('nginx', ['-c', configPath, '-p', folder, '-e', join(folder, 'error.log')]);
  const one = await started('nginx', `http://127.0.0.1:${port}`, child);
  return {
    ...one,
    async stop() {
      await one.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
};

const portkey: StartContender = async (engines) => {
  const folder = join(cacheFolder(), 'bench', `portkey-${portkeyVersion}`);
  const program = join(folder, 'node_modules/@portkey-ai/gateway/build/start-server.js');
  if (!existsSync(program)) {
    mkdirSync(folder, { recursive: true });
    // Without these its streams break.
    const overrides = { '@hono/node-server': '1.13.5', hono: '4.9.7' };
    writeFileSync(
      join(folder, 'package.json'),
      JSON.stringify({ private: true, dependencies: { '@portkey-ai/gateway': portkeyVersion }, overrides }),
    );
    await run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder });
  }
  const port = await freePort();
  const child = startChild(process.execPath, [program, `--port=${port}`, '--headless'], {
    cwd: folder,
    env: { ...process.env, NODE_ENV: 'production' },
  });
  const targets = engines.map((url) => ({ provider: 'openai', api_key: 'none', custom_host: `${url}/v1` }));
  const config = JSON.stringify({ strategy: { mode: 'loadbalance' }, targets });
  return started(`Portkey ${portkeyVersion}`, `http://127.0.0.1:${port}`, child, { 'x-portkey-config': config }, '/');
};

const smg =
  (policy: 'round_robin' | 'cache_aware'): StartContender =>
  async (engines) => {
    const folder = join(cacheFolder(), 'bench', `smg-${smgVersion}`);
    const program = join(folder, 'bin/smg');
    if (!existsSync(join(folder, 'complete'))) {
      await run('python3', ['-m', 'venv', folder]);
      await run(join(folder, 'bin/pip'), ['install', '-q', `smg==${smgVersion}`]);
      copyFileSync(program, join(folder, 'complete'));
    }
    const [port, metricsPort] = [await freePort(), await freePort()];
    const child = startChild(program, [
      ...['launch', '--host', '127.0.0.1', '--port', String(port), '--prometheus-port', String(metricsPort), '--policy', policy],
      ...['--log-level', 'error', '--backend', 'vllm', '--disable-tokenizer-autoload', '--worker-urls', ...engines],
    ]);
    return started(`SMG ${smgVersion} ${policy}`, `http://127.0.0.1:${port}`, child, {}, '/readiness');
  };

/** By the name that `--only` takes. The first is what the others are measured in. */
export const others: Readonly<Record<string, StartContender>> = {
  bare,
  nginx,
  portkey,
  'smg-rr': smg('round_robin'),
  'smg-cache': smg('cache_aware'),
};
