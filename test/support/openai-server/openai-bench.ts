// An adapter and the scripted server behind it, on virtual time, with all that the adapter says.
import { VirtualClock } from '../../../lib/clock/virtual-clock.ts';
import { openaiEngineSchema } from '../../../lib/config/fleet.ts';
import { OpenaiEngine } from '../../../lib/engines/openai/adapter.ts';
import { createMemoryHttp } from '../../../lib/http/memory-http.ts';
import type { EngineEvent, GenerateRequest } from '../../../lib/ports/engines.ts';
import type { HttpServer } from '../../../lib/ports/http.ts';
import { OpenaiServer, type OpenaiServerOptions } from './openai-server.ts';

export class OpenaiBench {
  readonly clock = new VirtualClock();
  readonly http = createMemoryHttp({ clock: this.clock });
  readonly events: EngineEvent[] = [];
  server!: OpenaiServer;
  engine!: OpenaiEngine;
  #listening: HttpServer | undefined;
  #address = 'http://127.0.0.1:8000';

  static async start(
    options: Partial<OpenaiServerOptions> = {},
    config: Record<string, unknown> = {},
    more: { model?: string; apiKey?: string; away?: boolean } = {},
  ): Promise<OpenaiBench> {
    const bench = new OpenaiBench();
    bench.server = new OpenaiServer({ kind: 'vllm', ...options, clock: bench.clock });
    if (!more.away) await bench.appear();
    bench.engine = new OpenaiEngine({
      config: openaiEngineSchema.parse({ servers: [{ url: bench.#address }], maxRunning: 4, maxWaiting: 4, contextTokens: 240, ...config }),
      ...{ url: bench.#address, apiKey: more.apiKey, model: more.model ?? 'tiny', http: bench.http, clock: bench.clock },
      hooks: { onEvents: (events) => bench.events.push(...events), onLifecycle: () => {}, onChange: () => {} },
    });
    await bench.clock.until(() => !bench.engine.unfit()?.message.includes('not been asked'), 60_000);
    return bench;
  }

  async appear(): Promise<void> {
    this.#listening = await this.http.serve({ host: '127.0.0.1', port: 8000 }, this.server.handler);
  }

  async vanish(): Promise<void> {
    await this.#listening?.close(0);
  }

  open(requestId: string, fields: Record<string, unknown> = {}, more: Partial<GenerateRequest> = {}) {
    const prompt =
      more.endpoint === 'completions' ? { prompt: 'Tell me about the sea' } : { messages: [{ role: 'user', content: 'Tell me about the sea' }] };
    const body = Buffer.from(JSON.stringify({ model: 'tiny', stream: more.clientStreams ?? true, ...prompt, ...fields }));
    return this.engine.open(
      {
        ...{ requestId, epoch: 1, endpoint: 'chat', body, clientStreams: true, resumeTokenIds: [], resumeText: '', reservationId: '' },
        ...{ priority: 0, arrivalMs: this.clock.now(), createdS: 1_700_000_123, includeUsage: false, gatewayId: 'gateway-1' },
        ...{ traceparent: '', nextIndex: 0, maxOutputTokens: 64, promptTokens: 0, serviceTier: '', keyId: '', sloClass: 'standard' },
        ...more,
      },
      false,
    );
  }

  said(requestId: string, epoch = 1): EngineEvent[] {
    return this.events.filter((event) => event.requestId === requestId && event.epoch === epoch);
  }

  async ended(requestId: string, epoch = 1): Promise<Said> {
    const last = () => this.said(requestId, epoch).find(({ finishReason, error }) => finishReason !== '' || error);
    await this.clock.until(() => last() !== undefined, 60_000);
    return new Said(this.said(requestId, epoch), last()!);
  }
}

/** All that one stream has said. */
export class Said {
  readonly events: readonly EngineEvent[];
  readonly end: EngineEvent;

  constructor(events: readonly EngineEvent[], end: EngineEvent) {
    this.events = events;
    this.end = end;
  }

  get ids(): number[] {
    return this.events.flatMap(({ tokenIds }) => tokenIds);
  }

  get pieces(): number {
    return this.events.reduce((sum, { pieces }) => sum + (pieces?.count ?? 0), 0);
  }

  get text(): string {
    return this.events.map(({ text }) => text).join('');
  }

  get data(): string {
    return Buffer.concat(this.events.map(({ data }) => data)).toString();
  }

  get carry() {
    return this.events.findLast(({ carry }) => carry)?.carry ?? undefined;
  }

  // biome-ignore lint/suspicious/noExplicitAny: chunks are whatever the server says
  get chunks(): any[] {
    return this.data
      .split('\n\n')
      .filter((part) => part !== '')
      .map((part) => JSON.parse(part.slice('data: '.length)));
  }
}
