// The fleet of the probes: two engines behind one gateway, as behind the other gateways, and a third one for load; every
// service a process, keys on.
import { setTimeout as pause } from 'node:timers/promises';
import { findSpans } from '../../lib/contracts.ts';
import type { SpanRecord } from '../../proto/gen/messages.ts';
import { model, price, startWorld, type World } from '../proof/world.ts';
import { eventually } from '../support/eventually.ts';
import { post, type Sent } from './client.ts';

export { model };
export const gatewayId = 'gateway-1';
export const agents = ['agent-chat-1', 'agent-chat-2'] as const;
export const instances = ['chat-1', 'chat-2'] as const;
/** So fast that only the gateway limits what goes through. */
export const fastModel = 'fast';
export const fastInstance = 'fast-1';
export type InstanceId = (typeof instances)[number] | typeof fastInstance;

/** What an engine is made to answer to everything. */
export interface Pretence {
  readonly status: number;
  readonly retryAfterMs?: number;
}

export interface Count {
  /** Process ids. */
  readonly at: readonly string[];
  readonly name: string;
  /** Of lines that contain this only. */
  readonly labels?: string;
}

export interface ProbeFleet {
  readonly world: World;
  readonly url: string;
  /** Every process runs, every engine is well. */
  whole(): Promise<void>;
  post(sent: Omit<Sent, 'key'>): ReturnType<typeof post>;
  /** A verified stream: its tokens are compared with what the model must say. */
  stream(prompt: string, outputTokens: number): ReturnType<World['streams'][number]['open']>;
  /** Resolves when the engines answer so, with the time at which the last one began to, Unix ms. Those not named are well. */
  pretend(answers: Readonly<Partial<Record<InstanceId, Pretence>>>): Promise<number>;
  kill(...ids: InstanceId[]): Promise<void>;
  /** Starts its process; resolves with the time at which its engine was there again, Unix ms. */
  restart(id: InstanceId): Promise<number>;
  /**
   * How far the sums of these metrics have grown while `during` ran. Processes put their metrics in place each second: the
   * count begins and ends when they have.
   */
  grown<T>(counts: readonly Count[], during: () => Promise<T>): Promise<{ readonly by: readonly number[]; readonly result: T }>;
  /** Spans of a trace, when `enough` of them are there. */
  spans(traceId: string, enough: (spans: readonly SpanRecord[]) => boolean): Promise<readonly SpanRecord[]>;
  /** When this instance gave the first token of a request that came after `afterMs`, Unix ms. */
  usedAgain(id: InstanceId, afterMs: number): Promise<number>;
  stop(): Promise<void>;
}

/** What a client has been told is counted within this. */
const betweenLooksMs = 100;

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

const logLine = (text: string) => {
  try {
    return JSON.parse(text) as { time?: string; message?: string };
  } catch {
    return {};
  }
};

export async function startProbeFleet(): Promise<ProbeFleet> {
  const sim = {
    profile: 'llama-3.1-8b-h100',
    speed: 0.5,
    blocks: 4096,
    kvBytesPerToken: 8,
    maxRunning: 64,
    maxWaiting: 64,
    maxContextTokens: 16_384,
  };
  const world = await startWorld({
    pools: [
      { id: 'chat', models: [model], instances: instances.length, max: instances.length, price, sim },
      { id: 'fast', models: [fastModel], instances: 1, max: 1, price, sim: { ...sim, speed: 100, maxRunning: 256 } },
    ],
    settings: { 'migration-coordinator': { mode: 'off' } },
  });
  const { fleet } = world;
  const agentOf = (id: InstanceId) => `agent-${id}`;

  /** When each of these processes has last said this, after a time; Unix ms. */
  async function said(ids: readonly InstanceId[], message: string, afterMs: number): Promise<number> {
    let latestMs = 0;
    await eventually(`${ids.join(', ')}: ${message}`, 30_000, () => {
      const times = ids.map((id) => {
        const lines = fleet.log(agentOf(id)).split('\n').map(logLine);
        return lines.findLast((line) => line.message === message && Date.parse(line.time ?? '') >= afterMs)?.time;
      });
      latestMs = Math.max(...times.map((time) => Date.parse(time ?? '')));
      return { ok: !Number.isNaN(latestMs), seen: times };
    });
    return latestMs;
  }

  let pretending = false;
  function pretend(answers: Readonly<Partial<Record<InstanceId, Pretence>>>): Promise<number> {
    pretending = Object.keys(answers).length > 0;
    const beforeMs = Date.now();
    fleet.configure('agent', { pretend: answers });
    return said([...instances, fastInstance], 'configuration taken', beforeMs);
  }

  return {
    world,
    url: fleet.gatewayUrl,
    async whole() {
      if (pretending) await pretend({});
      await fleet.whole();
      await eventually('no engine is set aside', 10_000, async () => {
        const aside = (await fleet.instances()).filter((row) => row.setAside !== '').map((row) => row.id);
        return { ok: aside.length === 0, seen: aside };
      });
    },
    post: (sent) => post(fleet.gatewayUrl, { ...sent, key: world.key.secret }),
    stream: (prompt, outputTokens) => world.streams[0]!.open({ model, prompt, outputTokens, sloClass: 'default' }),
    pretend,
    async kill(...ids) {
      await Promise.all(ids.map((id) => fleet.kill(agentOf(id))));
    },
    async restart(id) {
      const beforeMs = Date.now();
      fleet.start(agentOf(id));
      return said([id], 'instance started', beforeMs);
    },
    async grown(counts, during) {
      const look = () =>
        Promise.all(counts.map(async ({ at, name, labels }) => sum(await Promise.all(at.map((id) => world.metric(id, name, labels))))));
      const settled = async () => {
        let seen = await look();
        await eventually('the counts stand still', 10_000, async () => {
          const before = seen;
          await pause(betweenLooksMs);
          seen = await look();
          return { ok: seen.every((count, index) => count === before[index]), seen };
        });
        return seen;
      };
      const before = await settled();
      const result = await during();
      const after = await settled();
      return { by: after.map((count, index) => count - before[index]!), result };
    },
    async spans(traceId, enough) {
      let found: readonly SpanRecord[] = [];
      await eventually(`the spans of trace ${traceId}`, 20_000, async () => {
        const replies = await world.bus.gather(findSpans, [], { requestId: '', traceId }, { timeoutMs: 400 });
        found = replies.flatMap((reply) => reply.spans);
        return { ok: enough(found), seen: found.map(({ name }) => name) };
      });
      return found;
    },
    async usedAgain(id, afterMs) {
      let usedMs = Number.NaN;
      await eventually(`${id} is used again`, 30_000, () => {
        const ends = [...world.ends.values()].flat().filter((end) => end.instanceId === id && end.firstTokenMs > afterMs);
        usedMs = Math.min(...ends.map(({ firstTokenMs }) => firstTokenMs));
        return { ok: ends.length > 0, seen: world.ends.size };
      });
      return usedMs;
    },
    stop: () => world.stop(),
  };
}

let numbered = 0;

/** No two are alike, so that no cache of prefixes helps; about so many tokens. */
export function prompt(tokens: number): string {
  return `Probe ${++numbered} of ${process.pid}: ${'one '.repeat(tokens)}`;
}

export function traceOf(): { readonly traceId: string; readonly headers: { readonly traceparent: string } } {
  const traceId = `${process.pid.toString(16).padStart(8, '0')}${(++numbered).toString(16).padStart(8, '0')}`.padStart(32, 'c');
  return { traceId, headers: { traceparent: `00-${traceId}-00000000000000aa-01` } };
}

/** So many clients, each with one request after the other; what each of the requests came to. */
export async function manyTimes<T>(count: number, clients: number, one: (number: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const client = async () => {
    while (next < count) results.push(await one(next++));
  };
  await Promise.all(Array.from({ length: clients }, client));
  return results;
}

/** Short verified streams without end, until it is told; then how many there were, none of them with a fault. */
export function keepAsking(fleet: ProbeFleet, clients: number): { end(): Promise<number> } {
  let ending = false;
  const faults: string[] = [];
  let asked = 0;
  const client = async () => {
    while (!ending) {
      const { outcome, detail } = await fleet.stream(prompt(20), 5);
      asked++;
      if (outcome !== 'exact') faults.push(`${outcome}: ${detail}`);
    }
  };
  const ended = Promise.all(Array.from({ length: clients }, client));
  return {
    async end() {
      ending = true;
      await ended;
      if (faults.length > 0) throw new Error(`${faults.length} of ${asked} requests failed, the first: ${faults[0]}`);
      return asked;
    },
  };
}
