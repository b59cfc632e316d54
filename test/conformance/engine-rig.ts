// What the conformance suite of engine adapters knows of each adapter, and a recorder of what an engine says.

import { afterEach, vi } from 'vitest';
import { cacheFolder } from '../../infra/setup/machine-facts.ts';
import { modelFile } from '../../infra/setup/random-model.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import { llamaEngineSchema, openaiEngineSchema, simEngineSchema } from '../../lib/config/fleet.ts';
import { LlamaEngine } from '../../lib/engines/llama/llama-engine.ts';
import { OpenaiEngine } from '../../lib/engines/openai/adapter.ts';
import { SimEngine } from '../../lib/engines/sim/sim-engine.ts';
import { createMemoryHttp } from '../../lib/http/memory-http.ts';
import { type Clock, sleep } from '../../lib/ports/clock.ts';
import type { EngineAdapter, EngineEvent, EngineHooks, GenerateRequest, KvAdapter, LifecycleEvent, StageSource } from '../../lib/ports/engines.ts';
import type { Refusal } from '../../proto/gen/messages.ts';
import { llamaPackage } from '../engines/llama-package.ts';
import type { Kind } from '../support/openai-server/dialects.ts';
import { OpenaiServer } from '../support/openai-server/openai-server.ts';

export interface EngineSubject {
  readonly name: string;
  readonly model: string;
  /** The "id" of an answer; `said` when it is the engine's own affair. */
  answerId(requestId: string, said: string): string;
  /** Milliseconds until a cancelled sequence has given everything back. */
  readonly cancelWithinMs: number;
  /** Its KV can be moved (engine-kv.test.ts). */
  readonly movesKv: boolean;
  /** Of an answer that is moved while it is given: long enough for that. */
  readonly movedTokens: number;
  /** Of every request: what makes the same answer come each time. */
  readonly fields?: Readonly<Record<string, unknown>>;
  /** Time for these engines: passes by itself, or is moved by `until` and `pass`. */
  start(): EngineTime;
}

export interface EngineTime {
  readonly clock: Clock;
  until(condition: () => boolean, withinMs?: number): Promise<void>;
  pass(ms: number): Promise<void>;
  /** A small engine: at most 4 sequences at once, 240 to 1024 tokens of context. The same answers from every one. */
  make(hooks: EngineHooks): Promise<EngineAdapter>;
}

/** Time of the machine, for engines that take their own. */
const machineTime = {
  clock: systemClock,
  until: (condition: () => boolean, withinMs = 30_000) => vi.waitUntil(condition, { timeout: withinMs, interval: 1 }).then(() => {}),
  pass: (ms: number) => sleep(systemClock, ms),
};

export const subjects: readonly EngineSubject[] = [
  {
    name: 'sim',
    model: 'llama-3.1-8b',
    answerId: (requestId) => `chatcmpl-${requestId}`,
    cancelWithinMs: 100,
    movesKv: true,
    movedTokens: 40,
    start() {
      const clock = new VirtualClock();
      const config = simEngineSchema.parse({
        ...{ profile: 'llama-3.1-8b-h100', blocks: 64, blockTokens: 4, kvBytesPerToken: 64, maxRunning: 4, maxWaiting: 4 },
        ...{ prefillChunk: 32, maxContextTokens: 240 },
      });
      return {
        clock,
        until: (condition, withinMs = 60_000) => clock.until(condition, withinMs),
        pass: (ms) => clock.advance(ms),
        make: async (hooks) => new SimEngine({ model: 'llama-3.1-8b', config, clock, hooks }),
      };
    },
  },
  ...(llamaPackage ? [llama()] : []),
  ...(['vllm', 'sglang', 'llama-server', 'generic'] as const).map(openai),
];

const openEngines = new Set<EngineAdapter>();

/** A llama engine that is closed after the test. Not to be asked for where the package is not here. */
export async function makeLlama(hooks: EngineHooks, file?: string): Promise<EngineAdapter> {
  const config = llamaEngineSchema.parse({ contextTokens: 1024, maxRunning: 4, maxWaiting: 4 });
  const model = file ?? (await modelFile('exact', cacheFolder()));
  const given = { model: 'random', config, packageDir: llamaPackage, modelFile: model, pid: process.pid, clock: systemClock };
  const engine = new LlamaEngine({ ...given, hooks });
  openEngines.add(engine);
  const why = await engine.ready;
  if (why) throw new Error(`${why.code}: ${why.message}`);
  return engine;
}

function llama(): EngineSubject {
  afterEach(async () => {
    await Promise.all([...openEngines].map((engine) => engine.close()));
    openEngines.clear();
  });
  return {
    name: 'llama',
    model: 'random',
    answerId: (requestId) => `chatcmpl-${requestId}`,
    cancelWithinMs: 100,
    movesKv: true,
    movedTokens: 900,
    fields: { temperature: 0 },
    start: () => ({ ...machineTime, make: makeLlama }),
  };
}

/** The adapter of servers with the OpenAI API, each engine with a scripted server of its own. */
function openai(kind: Kind): EngineSubject {
  return {
    name: `openai, ${kind}`,
    model: 'tiny',
    answerId: (requestId, said) => (kind === 'vllm' ? `chatcmpl-${requestId}` : said),
    cancelWithinMs: 100,
    movesKv: false,
    movedTokens: 40,
    start() {
      const clock = new VirtualClock();
      const http = createMemoryHttp({ clock });
      return {
        clock,
        until: (condition, withinMs = 60_000) => clock.until(condition, withinMs),
        pass: (ms) => clock.advance(ms),
        async make(hooks) {
          const server = new OpenaiServer({ kind, clock });
          const { address } = await http.serve({ host: '127.0.0.1', port: 0 }, server.handler);
          const config = openaiEngineSchema.parse({ servers: [{ url: address }], maxRunning: 4, maxWaiting: 4, contextTokens: 240 });
          const engine = new OpenaiEngine({ config, url: address, apiKey: undefined, model: 'tiny', http, clock, hooks });
          await clock.until(() => engine.unfit() === undefined, 10_000);
          return engine;
        },
      };
    },
  };
}

/** Stands for a piece of text whose token ids the engine does not give. */
const noId = -1;

/** What one stream has said. */
export class Heard {
  readonly ids: number[] = [];
  text = '';
  data = '';
  gaps = 0;
  end: EngineEvent | undefined;

  take(event: EngineEvent): void {
    if (event.index !== this.ids.length) this.gaps++;
    this.ids.push(...(event.pieces ? Array<number>(event.pieces.count).fill(noId) : event.tokenIds));
    this.text += event.text;
    this.data += Buffer.from(event.data).toString();
    if (event.finishReason !== '' || event.error) this.end = event;
  }

  /** The text that a client puts together from the chunks. */
  get shown(): string {
    return this.chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? '').join('');
  }

  get chunks() {
    return this.data
      .split('\n\n')
      .filter((part) => part !== '')
      .map((part) => JSON.parse(part.slice('data: '.length)));
  }
}

/** An engine with everything it has said. */
export class EngineRig {
  readonly time: EngineTime;
  readonly engine: EngineAdapter;
  readonly model: string;
  readonly fields: Readonly<Record<string, unknown>>;
  /** By request id and epoch. */
  readonly heard: Map<string, Heard>;
  /** Events of each call, as request ids. */
  readonly calls: string[][];
  readonly lifecycle: LifecycleEvent[];
  readonly changes: () => number;

  private constructor(given: Omit<EngineRig, 'open' | 'refused' | 'stream' | 'ended' | 'probed' | 'free' | 'kv'>) {
    this.time = given.time;
    this.engine = given.engine;
    this.model = given.model;
    this.fields = given.fields;
    this.heard = given.heard;
    this.calls = given.calls;
    this.lifecycle = given.lifecycle;
    this.changes = given.changes;
  }

  static async start(subject: EngineSubject, time: EngineTime = subject.start()): Promise<EngineRig> {
    const heard = new Map<string, Heard>();
    const calls: string[][] = [];
    const lifecycle: LifecycleEvent[] = [];
    let changes = 0;
    const engine = await time.make({
      onEvents(events) {
        calls.push(events.map((event) => event.requestId));
        for (const event of events) {
          const key = `${event.requestId}@${event.epoch}`;
          if (!heard.has(key)) heard.set(key, new Heard());
          heard.get(key)!.take(event);
        }
      },
      onLifecycle: (event) => lifecycle.push(event),
      onChange: () => changes++,
    });
    return new EngineRig({ time, engine, model: subject.model, fields: subject.fields ?? {}, heard, calls, lifecycle, changes: () => changes });
  }

  get kv(): KvAdapter {
    return this.engine.kv!;
  }

  /** Blocks that can be had, cached ones included. */
  get free(): number {
    return this.engine.status().freeBlocks;
  }

  /** What is refused, at once or once the engine has looked at it. */
  async refused(requestId: string, fields: Record<string, unknown> = {}, more: Partial<GenerateRequest> = {}): Promise<Refusal | undefined> {
    return this.open(requestId, fields, more) ?? (await this.ended(requestId)).end?.error ?? undefined;
  }

  open(requestId: string, fields: Record<string, unknown> = {}, more: Partial<GenerateRequest> = {}, held = false): Refusal | undefined {
    const body = Buffer.from(
      JSON.stringify({ model: this.model, messages: [{ role: 'user', content: 'Tell me about the sea' }], ...this.fields, ...fields }),
    );
    return this.engine.open(
      {
        ...{ requestId, epoch: 1, endpoint: 'chat', body, clientStreams: true, resumeTokenIds: [], resumeText: '', reservationId: '' },
        ...{ priority: 0, arrivalMs: this.time.clock.now(), createdS: 1_700_000_000, includeUsage: false, gatewayId: 'gateway-1' },
        ...{ traceparent: '', nextIndex: 0, maxOutputTokens: 0, promptTokens: 0, serviceTier: '', keyId: '', sloClass: 'standard' },
        ...more,
      },
      held,
    );
  }

  stream(requestId: string, epoch = 1): Heard {
    const key = `${requestId}@${epoch}`;
    if (!this.heard.has(key)) this.heard.set(key, new Heard());
    return this.heard.get(key)!;
  }

  /** What the engine says to a probe. */
  async probed(): Promise<Refusal | undefined> {
    let answer: { said: Refusal | undefined } | undefined;
    void this.engine.probe().then((said) => {
      answer = { said };
    });
    await this.time.until(() => answer !== undefined);
    return answer!.said;
  }

  async ended(requestId: string, epoch = 1): Promise<Heard> {
    const heard = this.stream(requestId, epoch);
    await this.time.until(() => heard.end !== undefined);
    return heard;
  }
}

/** One stage, carried from hand to hand. `change` may damage or leave out what is written. */
export async function copyStage(
  source: EngineRig,
  target: EngineRig,
  move: { requestId: string; reservationId: string; transferToken: string; last?: boolean; pauseLeaseMs?: number },
  leaveOut: (block: number) => boolean = () => false,
  changed: (state: Uint8Array) => Uint8Array = (state) => state,
): Promise<{ stage: StageSource; missing: readonly number[] } | Refusal> {
  const { requestId, reservationId, transferToken, last = false, pauseLeaseMs = 5_000 } = move;
  let begun: StageSource | Refusal | undefined;
  void source.kv.beginStage({ requestId, epoch: 1, reservationId, last, pauseLeaseMs }).then((stage) => {
    begun = stage;
  });
  await source.time.until(() => begun !== undefined);
  const stage = begun!;
  if ('code' in stage) return stage;
  const incoming = target.kv.incoming(reservationId, transferToken);
  if ('code' in incoming) return incoming;
  for (const { block, version } of stage.blocks) {
    if (leaveOut(block)) continue;
    const payload = stage.read(block, 0, stage.blockBytes).slice();
    const refused = incoming.write({ block, offset: 0, blockBytes: stage.blockBytes, version, payload });
    if (refused) return refused;
  }
  const committed = await incoming.commit(stage.versions, last, changed(stage.state));
  return 'code' in committed ? committed : { stage, missing: committed.missing };
}
