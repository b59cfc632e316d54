// Real llama engines for tests, each with its process, and what they have said by request.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { cacheFolder } from '../../infra/setup/machine-facts.ts';
import { modelFile } from '../../infra/setup/random-model.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import { type LlamaEngineConfig, poolSchema } from '../../lib/config/fleet.ts';
import { createEngine } from '../../lib/engines/create-engine.ts';
import type { RandomPreset } from '../../lib/engines/llama/gguf/random-model.ts';
import type { LlamaEngine } from '../../lib/engines/llama/llama-engine.ts';
import type { Clock } from '../../lib/ports/clock.ts';
import type { EngineAdapter, GenerateRequest, KvAdapter } from '../../lib/ports/engines.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { systemRng } from '../../lib/rng/system-rng.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { Conversation } from './conversation.ts';
import { llamaPackage } from './llama-package.ts';

export interface Ask {
  readonly id: string;
  readonly maxTokens: number;
  readonly temperature?: number;
  readonly seed?: number;
  readonly prompt?: string;
}

let skippedMs = 0;
/** Real time, but for what was skipped. */
const clock: Clock = { now: () => systemClock.now() + skippedMs, after: (ms, run) => systemClock.after(ms, run) };

/** For engines it is later at once; timers that run keep their length. An adapter waits longer before each restart that comes soon. */
export function skipTime(ms: number): void {
  skippedMs += ms;
}

const conversations = new Map<string, Conversation>();
let instances = 0;

export interface LlamaRig {
  readonly engine: EngineAdapter;
  readonly kv: KvAdapter;
  /** Of the engine's own process; undefined while there is none. */
  readonly pid: number | undefined;
  open(ask: Ask): Conversation;
  close(): Promise<void>;
}

/** An engine that is ready. `model`: a preset, or a GGUF file. */
export async function startLlama(model: RandomPreset | `/${string}`, config: Partial<LlamaEngineConfig> = {}): Promise<LlamaRig> {
  const file = model.startsWith('/') ? model : await modelFile(model as RandomPreset, cacheFolder());
  const pool = poolSchema.parse({
    ...{ id: 'chat', models: ['test-model'], engine: 'llama', instances: 1 },
    llama: { model: file, contextTokens: 1024, maxRunning: 8, prefixCache: false, ...config },
  });
  const engine = createEngine({
    pool,
    instanceId: `chat-${++instances}`,
    files: { llamaPackage, models: {} },
    ports: {
      ...{ clock, rng: systemRng, telemetry: createMemoryTelemetry(clock) },
      identity: { id: 'agent-1', pid: process.pid },
    } as unknown as Ports,
    hooks: {
      onEvents(events) {
        for (const event of events) conversations.get(event.requestId)?.take(event);
      },
      onLifecycle() {},
      onChange() {},
    },
  }) as LlamaEngine;
  const unfit = await engine.ready;
  if (unfit) throw new Error(unfit.message);
  return {
    engine,
    get kv() {
      return engine.kv!;
    },
    get pid() {
      return engine.running?.child.pid;
    },
    open(ask) {
      const conversation = new Conversation(requestOf(ask));
      conversations.set(ask.id, conversation);
      const refused = engine.open(conversation.request, false);
      if (refused) throw new Error(`${refused.code}: ${refused.message}`);
      return conversation;
    },
    async close() {
      await engine.close();
    },
  };
}

/**
 * Two engines of the exact preset for the tests of the file, started before them and closed after them; and what one that is not
 * moved says to `ask`.
 */
export function exactPair(ask: Omit<Ask, 'id'>): { readonly a: LlamaRig; readonly b: LlamaRig; readonly reference: readonly number[] } {
  const pair = {} as { a: LlamaRig; b: LlamaRig; reference: readonly number[] };
  beforeAll(async () => {
    pair.a = await startLlama('exact');
    pair.b = await startLlama('exact');
    const conversation = pair.a.open({ ...ask, id: 'reference' });
    await conversation.ended();
    pair.reference = conversation.ids;
  });
  afterAll(async () => {
    await pair.a?.close();
    await pair.b?.close();
  });
  return pair;
}

function requestOf({ id, maxTokens, temperature = 0, seed = 7, prompt = 'Tell me about the sea' }: Ask): GenerateRequest {
  const body = { model: 'test-model', messages: [{ role: 'user', content: prompt }], max_tokens: maxTokens, temperature, seed };
  return {
    ...{
      requestId: id,
      epoch: 1,
      endpoint: 'chat',
      body: Buffer.from(JSON.stringify(body)),
      clientStreams: true,
      resumeTokenIds: [],
      resumeText: '',
    },
    ...{ reservationId: '', priority: 0, arrivalMs: clock.now(), createdS: 1_700_000_000, includeUsage: false, gatewayId: 'gateway-1' },
    ...{ traceparent: '', nextIndex: 0, maxOutputTokens: 0, promptTokens: 0, serviceTier: '', keyId: '', sloClass: 'standard' },
    carry: undefined,
  };
}

/** Processes that this one has started and that have not ended. */
export function childProcesses(): number[] {
  return childrenOf(process.pid);
}

export function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        // pid (name) state parent …; the name may hold anything but its own closing bracket last.
        const [state, parent] = readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
        return Number(parent) === pid && state !== 'Z' ? [Number(name)] : [];
      } catch {
        return [];
      }
    });
}

/** What engines have put where saved sequences lie for a moment: files, of this process. */
export function filesOfStates(): string[] {
  return [existsSync('/dev/shm') ? '/dev/shm' : tmpdir()]
    .flatMap((within) => readdirSync(within).map((name) => join(within, name)))
    .filter((path) => path.includes(`/switchyard-llama-${process.pid}-`))
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)));
}

/** Resident memory of a process, MB. */
export function memoryMb(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
}
