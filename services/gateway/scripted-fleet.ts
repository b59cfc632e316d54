// For the gateway's tests: a gateway in a memory world, with agents and an admission that say what the test tells them.
import { announced, exampleStatus } from '../../core/tracking/example-fleet.ts';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import * as contracts from '../../lib/contracts.ts';
import type { MemoryFetchOptions, MemoryReply } from '../../lib/http/memory-http.ts';
import type { Body } from '../../lib/ports/bus.ts';
import type { Connection } from '../../lib/ports/net.ts';
import { createMemoryWorld, type MemoryWorld } from '../../lib/run/memory-ports.ts';
import type { Running } from '../../lib/run/service.ts';
import {
  type AdmitReply,
  type CancelStream,
  LinkFrame,
  type OpenStream,
  type RequestDone,
  type RequestInfo,
  type StreamEvent,
} from '../../proto/gen/messages.ts';
import { type GatewayConfig, gatewaySchema } from './config.ts';
import { gateway } from './service.ts';

export const fleet = {
  pools: [
    { id: 'chat', models: ['llama-3.1-8b', 'small/alias'], instances: 2, sim: { profile: 'llama-3.1-8b-h100' } },
    { id: 'large', models: ['llama-3.1-70b'], instances: 1, sim: { profile: 'llama-3.1-70b-h100x4' } },
  ],
};

type Outcome = Partial<Body<AdmitReply>> & Pick<AdmitReply, 'outcome'>;
/** What admission answers; "silent" never does. */
export type Admission = (info: RequestInfo, ask: number) => Outcome | 'silent' | Promise<Outcome>;

/** One agent with one instance of the same name. */
export class ScriptedAgent {
  readonly name: string;
  address = '';
  readonly opens: OpenStream[] = [];
  readonly cancels: CancelStream[] = [];
  hellos = 0;
  connections: Connection[] = [];
  /** Said to everything that is opened. */
  turnsAway: StreamEvent['error'];

  constructor(name: string) {
    this.name = name;
  }

  async listen(world: MemoryWorld<VirtualClock>, port: number): Promise<void> {
    const options = { host: this.name, port, maxFrameBytes: 100_000_000 };
    const listener = await world.net.listen('link', options, (connection) => {
      this.connections.push(connection);
      connection.onFrame((bytes) => {
        const frame = LinkFrame.decode(bytes);
        if (frame.hello) this.hellos++;
        if (frame.open) this.opens.push(frame.open);
        if (frame.open && this.turnsAway) this.say(0, 0, { error: this.turnsAway }, frame.open);
        if (frame.cancel) this.cancels.push(frame.cancel);
      });
      connection.send(LinkFrame.encode({ hello: { id: this.name, protocol: 1 } }));
    });
    this.address = listener.address;
  }

  /** Says tokens `index` to `index + count - 1` of the newest stream, or of the one given. */
  say(index: number, count: number, event: Partial<StreamEvent> = {}, stream: OpenStream = this.opens.at(-1)!): void {
    const ids = Array.from({ length: count }, (_, offset) => index + offset);
    this.send({
      stream: stream.stream,
      epoch: stream.epoch,
      index,
      tokenIds: ids,
      text: ids.map((id) => `t${id} `).join(''),
      data: stream.clientStreams ? new TextEncoder().encode(ids.map((id) => `data: {"token":${id}}\n\n`).join('')) : new Uint8Array(),
      finishReason: '',
      finalBody: new Uint8Array(),
      ...event,
    });
  }

  send(...events: StreamEvent[]): void {
    this.connections.at(-1)!.send(LinkFrame.encode({ step: { instanceId: this.name, events } }));
  }

  finish(index: number, count: number, event: Partial<StreamEvent> = {}, stream: OpenStream = this.opens.at(-1)!): void {
    const usage = { promptTokens: 7, outputTokens: index + count, cachedTokens: 2 };
    const finalBody = stream.clientStreams ? new Uint8Array() : new TextEncoder().encode(`{"object":"chat.completion","n":${index + count}}`);
    this.say(index, count, { finishReason: 'stop', usage, finalBody, ...event }, stream);
  }
}

export class ScriptedFleet {
  readonly world = createMemoryWorld();
  readonly agents: ScriptedAgent[] = [];
  readonly asked: RequestInfo[] = [];
  readonly left: string[] = [];
  readonly done: RequestDone[] = [];
  /** Assigns the next agent that is not avoided. */
  admission: Admission = (info) =>
    this.assign(
      info,
      this.agents.find((agent) => !info.avoidInstances.includes(agent.name)),
    );
  running!: Running<GatewayConfig>;
  address = 'http://127.0.0.1:8080';
  #version = 0;

  static async start({ admissionLate = false, ...config }: { admissionLate?: boolean; [setting: string]: unknown } = {}): Promise<ScriptedFleet> {
    const scripted = new ScriptedFleet();
    if (!admissionLate) scripted.serveAdmission();
    const { bus } = scripted.world.ports('admission-1');
    bus.subscribe(contracts.leaveQueue, ['*'], ({ requestId }) => void scripted.left.push(requestId));
    bus.subscribe(contracts.requestsDone, ['*'], ({ ended }) => void scripted.done.push(...ended));
    for (const [index, name] of ['chat-1', 'chat-2'].entries()) {
      const agent = new ScriptedAgent(name);
      await agent.listen(scripted.world, 9000 + index);
      scripted.agents.push(agent);
    }
    scripted.running = await gateway.start(gatewaySchema.parse({ fleet, ...config }), scripted.world.ports('gateway-1'));
    return scripted;
  }

  serveAdmission(): void {
    const asks = new Map<string, number>();
    const { bus } = this.world.ports('admission-1');
    bus.serve(contracts.admit, ['*'], async ({ request }) => {
      this.asked.push(request!);
      const ask = (asks.get(request!.requestId) ?? 0) + 1;
      asks.set(request!.requestId, ask);
      const answer = await this.admission(request!, ask);
      if (answer === 'silent') return new Promise<never>(() => {});
      return { queuePosition: 0, ownerEpoch: 1, ...answer };
    });
  }

  assign(info: RequestInfo, agent: ScriptedAgent | undefined): Outcome {
    if (!agent) return { outcome: 'refused', refusal: { code: 'no_instance', message: 'none', retryable: true, retryAfterMs: 0 } };
    const { requestId, pool, epoch } = info;
    const assignedAtMs = this.world.clock.now();
    return {
      outcome: 'assigned',
      assignment: { requestId, pool, instanceId: agent.name, address: agent.address, epoch: epoch + 1, assignedAtMs, routerId: 'router-1' },
    };
  }

  /** Tells everybody the state of the fleet; instances are healthy unless they are named. */
  publishFleet(health: Record<string, 'healthy' | 'suspect' | 'dead'> = {}, capabilities: string[] = []): void {
    this.world.ports('instance-tracker-1').bus.publish(
      contracts.fleetChanged,
      [],
      announced({
        trackerId: 'instance-tracker-1',
        epoch: 1,
        version: ++this.#version,
        atMs: this.world.clock.now(),
        instances: this.agents.map((agent) => ({
          status: exampleStatus({ instanceId: agent.name, address: agent.address, capabilities }),
          health: health[agent.name] ?? 'healthy',
          stale: false,
          cordoned: false,
          cordonReason: 'none',
          receivedAtMs: this.world.clock.now(),
        })),
      }),
    );
  }

  post(body: object | string | Uint8Array, options: MemoryFetchOptions & { path?: string } = {}): Client {
    const sent = typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body);
    return this.fetch(options.path ?? '/v1/chat/completions', { ...options, method: 'POST', body: sent });
  }

  chat(fields: object = {}, options: MemoryFetchOptions = {}): Client {
    return this.post({ model: 'llama-3.1-8b', messages: [{ role: 'user', content: 'hello' }], stream: true, ...fields }, options);
  }

  fetch(path: string, options: MemoryFetchOptions = {}): Client {
    return new Client(this.world.http.fetch(this.address + path, options));
  }

  async until(condition: () => boolean, withinMs = 5_000): Promise<void> {
    await this.world.clock.until(condition, withinMs);
  }

  /** Time moves while the promise is on its way. */
  async settled<T>(promise: Promise<T>, withinMs = 5_000): Promise<T> {
    let settled = false;
    const mark = () => {
      settled = true;
    };
    promise.then(mark, mark);
    await this.until(() => settled, withinMs);
    return promise;
  }
}

/** A client that reads what comes, at once. */
export class Client {
  status = 0;
  headers: Readonly<Record<string, string>> = {};
  text = '';
  ended = false;
  failed: unknown;
  reply: MemoryReply | undefined;
  /** Stops reading while true. */
  paused = false;

  constructor(reply: Promise<MemoryReply>) {
    reply.then(
      (received) => this.#read(received),
      (thrown) => {
        this.failed = thrown;
        this.ended = true;
      },
    );
  }

  async #read(reply: MemoryReply): Promise<void> {
    this.reply = reply;
    this.status = reply.status;
    this.headers = reply.headers;
    const decoder = new TextDecoder();
    for await (const chunk of reply.chunks()) {
      this.text += decoder.decode(chunk, { stream: true });
      while (this.paused) await new Promise((resolve) => setImmediate(resolve));
    }
    this.ended = true;
  }

  get json(): unknown {
    return JSON.parse(this.text);
  }

  get error(): { message: string; type: string; param: string | null; code: string } {
    return (this.json as { error: { message: string; type: string; param: string | null; code: string } }).error;
  }

  /** Token numbers read so far. */
  get tokens(): number[] {
    return [...this.text.matchAll(/"token":(\d+)/g)].map((match) => Number(match[1]));
  }
}
