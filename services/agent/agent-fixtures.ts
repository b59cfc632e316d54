// For tests of the agent: two agents in one memory world, a gateway driven by hand, and the migration commands.
import { expect } from 'vitest';
import { promptTextOf } from '../../core/engine/prompt.ts';
import { expectedTokens } from '../../core/engine/token-function.ts';
import { fleetSchema } from '../../lib/config/fleet.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Connection, Net } from '../../lib/ports/net.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Running } from '../../lib/run/service.ts';
import { type InstanceStatus, LinkFrame, type OpenStream, type StreamEvent } from '../../proto/gen/messages.ts';
import { type AgentConfig, agentSchema } from './config.ts';
import { agent } from './service.ts';

export const model = 'llama-3.1-8b';

export function agentConfig(more: Record<string, unknown> = {}, sim: Record<string, unknown> = {}): AgentConfig {
  const fleet = fleetSchema.parse({
    pools: [
      {
        id: 'chat',
        models: [model, 'small'],
        instances: 2,
        sim: {
          profile: 'llama-3.1-8b-h100',
          blocks: 64,
          blockTokens: 4,
          kvBytesPerToken: 64,
          maxRunning: 8,
          prefillChunk: 32,
          maxContextTokens: 240,
          ...sim,
        },
      },
    ],
  });
  return agentSchema.parse({ fleet, ...more });
}

/** Latest report of every instance. */
export function watchStatus(ports: Ports): Map<string, InstanceStatus> {
  const latest = new Map<string, InstanceStatus>();
  ports.bus.subscribe(contracts.instanceStatus, ['*', '*'], (status) => latest.set(status.instanceId, status));
  return latest;
}

export async function startAgent(
  ports: Ports,
  instance: string,
  more: Record<string, unknown> = {},
  sim: Record<string, unknown> = {},
): Promise<Running<AgentConfig>> {
  return agent.start(agentConfig({ instances: [`chat/${instance}`], heartbeatMs: 100, ...more }, sim), ports);
}

export function chatBody(text: string, maxTokens: number | undefined, more: Record<string, unknown> = {}): Uint8Array {
  return Buffer.from(JSON.stringify({ model, messages: [{ role: 'user', content: text }], max_tokens: maxTokens, ...more }));
}

/** The token log of one request, with the gateway's rules: only the current epoch counts, repeats are dropped, gaps are failures. */
export class TestRequest {
  epoch = 1;
  readonly ids: number[] = [];
  text = '';
  data = '';
  finish: StreamEvent | undefined;
  error: StreamEvent['error'];
  outdated = 0;
  gaps = 0;

  take(event: StreamEvent): void {
    if (event.epoch !== this.epoch) {
      this.outdated++;
      return;
    }
    if (event.error) this.error = event.error;
    if (event.index + event.tokenIds.length <= this.ids.length && event.finishReason === '') return;
    if (event.index !== this.ids.length && !event.error) this.gaps++;
    this.ids.push(...event.tokenIds);
    this.text += event.text;
    this.data += Buffer.from(event.data).toString('utf8');
    if (event.finishReason !== '') this.finish = event;
  }

  expectExact(body: Uint8Array, count: number): void {
    const expected = expectedTokens(model, promptTextOf('chat', JSON.parse(Buffer.from(body).toString('utf8')))!, count);
    expect(this.gaps).toBe(0);
    expect(this.ids).toEqual(expected.ids);
    expect(this.text).toBe(expected.text);
  }
}

/** The gateway's end of a token link. */
export class TestGateway {
  readonly requests = new Map<string, TestRequest>();
  readonly frames: LinkFrame[] = [];
  #streams = new Map<string, number>();
  readonly connection: Connection;
  #next = 1;
  #lastOpen: Uint8Array = new Uint8Array(0);

  private constructor(connection: Connection) {
    this.connection = connection;
    connection.onFrame((bytes) => {
      const frame = LinkFrame.decode(bytes);
      this.frames.push(frame);
      for (const event of frame.step?.events ?? []) {
        for (const [key, stream] of this.#streams) if (stream === event.stream) this.requests.get(key)?.take(event);
      }
    });
  }

  /** Two gateways that share `requests` are one gateway with two links. */
  static async connect(net: Net, address: string, sharing?: TestGateway): Promise<TestGateway> {
    const gateway = new TestGateway(await net.connect(address, { timeoutMs: 1000, maxFrameBytes: 1 << 26 }));
    if (sharing) (gateway as { requests: Map<string, TestRequest> }).requests = sharing.requests;
    gateway.connection.send(LinkFrame.encode({ hello: { id: 'gateway-1', protocol: 1 } }));
    return gateway;
  }

  open(instanceId: string, requestId: string, open: Partial<OpenStream>): TestRequest {
    const request = this.requests.get(requestId) ?? new TestRequest();
    this.requests.set(requestId, request);
    request.epoch = open.epoch ?? 1;
    const stream = this.#next++;
    this.#streams.set(requestId, stream);
    this.#lastOpen = LinkFrame.encode({
      open: {
        stream,
        requestId,
        instanceId,
        epoch: 1,
        endpoint: 'chat',
        body: new Uint8Array(0),
        clientStreams: true,
        resumeTokenIds: [],
        resumeText: '',
        reservationId: '',
        priority: 0,
        arrivalMs: 1,
        createdS: 1_700_000_000,
        includeUsage: false,
        gatewayId: 'gateway-1',
        traceparent: '',
        nextIndex: 0,
        maxOutputTokens: 0,
        promptTokens: 0,
        serviceTier: '',
        keyId: 'key-1',
        sloClass: 'standard',
        ...open,
      },
    });
    this.connection.send(this.#lastOpen);
    return request;
  }

  /** The same frame once more. */
  repeatOpen(): void {
    this.connection.send(this.#lastOpen);
  }

  cancel(requestId: string, epoch: number, reason: 'client_left' | 'moved'): void {
    this.connection.send(LinkFrame.encode({ cancel: { stream: this.#streams.get(requestId)!, requestId, epoch, reason } }));
  }
}

/** The commands of one migration, as the worker sends them. */
export function migration(ports: Ports, plan: { id: string; requestId: string; source: string; target: string; fromEpoch?: number }) {
  const { bus } = ports;
  const fromEpoch = plan.fromEpoch ?? 1;
  const options = { timeoutMs: 5000 };
  let held = { kvAddress: '', transferToken: '' };
  return {
    async reserve(blocks: number, ttlMs = 10_000, purpose: 'migration' | 'cache' = 'migration') {
      const reply = await bus.request(
        contracts.reserve,
        [plan.target],
        {
          instanceId: plan.target,
          reservationId: plan.id,
          requestId: plan.requestId,
          epoch: fromEpoch + 1,
          blocks,
          ttlMs,
          purpose,
          sourceInstanceId: plan.source,
        },
        options,
      );
      if (!reply.refusal) held = { kvAddress: reply.kvAddress, transferToken: reply.transferToken };
      return reply;
    },
    copy(stage: number, more: { last?: boolean; pauseLeaseMs?: number; transferToken?: string; connections?: number; kvAddress?: string } = {}) {
      return bus.request(
        contracts.copyStage,
        [plan.source],
        {
          instanceId: plan.source,
          reservationId: plan.id,
          requestId: plan.requestId,
          epoch: fromEpoch,
          ...held,
          stage,
          last: false,
          pauseLeaseMs: 2000,
          connections: 3,
          ...more,
        },
        options,
      );
    },
    release: (committed: boolean) =>
      bus.request(contracts.release, [plan.source], { instanceId: plan.source, requestId: plan.requestId, epoch: fromEpoch, committed }, options),
    drop: () => bus.request(contracts.dropReservation, [plan.target], { instanceId: plan.target, reservationId: plan.id }, options),
  };
}
