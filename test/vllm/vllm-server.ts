// One real vLLM on the generated model: its own process group on free ports, ready when the function returns, gone when the
// test process is, however it ends.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Reaper, startReaper } from '../../infra/setup/reaper.ts';
import type { Vllm } from '../../infra/setup/vllm.ts';
import { eventually } from '../support/eventually.ts';
import { freePort } from '../support/ports.ts';

export interface VllmServer {
  readonly name: string;
  /** http://127.0.0.1:port */
  readonly url: string;
  /** Where its KV events are published, and where they are repeated. */
  readonly kvEvents: string;
  readonly kvReplay: string;
  readonly log: string;
  /** SIGKILL to all of its processes. */
  kill(): Promise<void>;
  /** Stands still: a server that has nothing to do turns in a loop (the progress thread of NIXL), and others need the machine. */
  freeze(): void;
  thaw(): void;
}

/** Loading takes a minute of one core, and everything else here wants it too. */
const readyWithinMs = 400_000;
const blockTokens = 32;
const contextTokens = 2048;
const running = new Set<ChildProcess>();
let reaper: Reaper | undefined;

process.once('exit', () => {
  for (const child of running) signal(child, 'SIGKILL');
});

export async function startVllm(vllm: Vllm, options: { name: string; model: string; folder: string }): Promise<VllmServer> {
  const { name, model, folder } = options;
  mkdirSync(folder, { recursive: true });
  const [port, sideChannel, events, replay] = [await freePort(), await freePort(), await freePort(), await freePort()];
  const url = `http://127.0.0.1:${port}`;
  const kvEvents = `tcp://127.0.0.1:${events}`;
  const kvReplay = `tcp://127.0.0.1:${replay}`;
  const log = join(folder, `${name}.log`);
  const out = openSync(log, 'a');
  const child = spawn(
    vllm.python,
    [
      ...vllm.arguments,
      ...['serve', model, '--host', '127.0.0.1', '--port', String(port), '--served-model-name', 'tiny', '--dtype', 'float32'],
      // fp32 and eager: the same tokens whatever else is in the batch.
      ...['--enforce-eager', '--block-size', String(blockTokens), '--max-model-len', String(contextTokens), '--max-num-seqs', '8'],
      ...['--enable-prefix-caching', '--enable-prompt-tokens-details', '--enable-server-load-tracking'],
      ...['--enable-auto-tool-choice', '--tool-call-parser', 'hermes'],
      ...['--kv-transfer-config', JSON.stringify({ kv_connector: 'NixlConnector', kv_role: 'kv_both', kv_buffer_device: 'cpu' })],
      '--kv-events-config',
      JSON.stringify({
        ...{ enable_kv_cache_events: true, publisher: 'zmq', topic: `kv@${name}@tiny` },
        ...{ endpoint: `tcp://*:${events}`, replay_endpoint: `tcp://*:${replay}` },
      }),
    ],
    {
      detached: true,
      stdio: ['ignore', out, out],
      env: {
        ...process.env,
        ...{ VLLM_CPU_KVCACHE_SPACE: '1', VLLM_CPU_OMP_THREADS_BIND: 'nobind', OMP_NUM_THREADS: '1', TOKENIZERS_PARALLELISM: 'false' },
        ...{ HF_HUB_OFFLINE: '1', VLLM_NO_USAGE_STATS: '1', DO_NOT_TRACK: '1' },
        PYTHONPATH: sleepingPython(folder),
        // Pausing and aborting from outside.
        VLLM_SERVER_DEV_MODE: '1',
        ...{ VLLM_NIXL_SIDE_CHANNEL_HOST: '127.0.0.1', VLLM_NIXL_SIDE_CHANNEL_PORT: String(sideChannel) },
      },
    },
  );
  running.add(child);
  reaper ??= startReaper();
  if (child.pid !== undefined) reaper.add(child.pid);
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.once('exit', () => {
    running.delete(child);
    if (child.pid !== undefined) reaper?.drop(child.pid);
    if (running.size > 0) return;
    reaper?.dismiss();
    reaper = undefined;
  });
  await eventually(`vLLM ${name} answers on ${url}`, readyWithinMs, async () => {
    if (child.exitCode !== null) throw new Error(`vLLM exited with ${child.exitCode}:\n${readFileSync(log, 'utf8').slice(-3000)}`);
    const { ok, status } = await fetch(`${url}/health`);
    return { ok, seen: status };
  });
  // The first request of all is slow, whatever it is.
  await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'tiny', prompt: 'warm', max_tokens: 2 }),
  });
  return {
    ...{ name, url, kvEvents, kvReplay, log },
    async kill() {
      signal(child, 'SIGKILL');
      await ended;
    },
    freeze: () => signal(child, 'SIGSTOP'),
    thaw: () => signal(child, 'SIGCONT'),
  };
}

/**
 * A folder for PYTHONPATH whose Python sleeps for 50 us where it would yield. vLLM's processes wait for each other by yielding in a
 * loop, for a second after each message. On two cores with Linux 6.18 threads of theirs that woke up then waited for up to seconds
 * beside NIXL's, which never yields.
 */
function sleepingPython(folder: string): string {
  const path = join(folder, 'python');
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'sitecustomize.py'), 'import os, time\nos.sched_yield = lambda: time.sleep(5e-5)\n');
  return path;
}

function signal(child: ChildProcess, name: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, name);
  } catch {
    // Gone already.
  }
}
