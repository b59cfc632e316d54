// A scripted server with the OpenAI API in the dialect of vLLM, SGLang, llama-server or of nobody in particular: a small engine
// with a batch and a queue, and every way to go wrong. An HTTP handler, so that it is served in memory or on a socket.
import { showable } from '../../../core/engine/stop-strings.ts';
import type { Cancel, Clock } from '../../../lib/ports/clock.ts';
import type { HttpHandler, HttpRequest, HttpResponse } from '../../../lib/ports/http.ts';
import { type Chunk, type Kind, metricsText, roleChunk, type Stream, tokenChunk, usageChunk, wholeAnswer } from './dialects.ts';
import { ToyModel, WholeText } from './toy-model.ts';

export interface ServerScript {
  /** `/is_paused` says so, and nothing is computed. */
  paused: boolean;
  /** The engine behind the server has died: health 503, requests 500. */
  dead: boolean;
  /** Questions for this path are never answered. */
  silentPath: string | undefined;
  /** Every request for tokens is answered so. */
  answer: { status: number; headers?: Record<string, string>; body: unknown } | undefined;
  /** After so many tokens of a request: given up, closed without a word, closed in mid-event, connection cut, an error in the stream. */
  endAfter: { tokens: number; how: 'abort' | 'silence' | 'half' | 'cut' | 'error' } | undefined;
  /** What is written goes out in pieces of this many bytes; 0: as it is. */
  pieceBytes: number;
  /** Comments between the tokens. */
  pings: boolean;
  lineEnd: '\n' | '\r\n';
  /** Time of a step; undefined: as at the start. */
  stepMs: number | undefined;
}

export interface OpenaiServerOptions {
  readonly kind: Kind;
  readonly clock: Clock;
  readonly model?: string;
  readonly stepMs?: number;
  readonly maxRunning?: number;
  readonly contextTokens?: number;
  readonly halves?: boolean;
  readonly apiKey?: string;
  /** Is there under this name only when it is in development mode. */
  readonly devMode?: boolean;
}

interface Running {
  readonly stream: Stream;
  readonly response: HttpResponse;
  readonly streams: boolean;
  readonly usage: boolean;
  readonly stop: readonly string[];
  readonly includeStop: boolean;
  readonly limit: number;
  readonly whole: WholeText;
  readonly done: PromiseWithResolvers<void>;
  ids: number[];
  text: string;
  shown: number;
  spoke: boolean;
}

const blockTokens = 4;

export class OpenaiServer {
  readonly script: ServerScript = {
    paused: false,
    dead: false,
    silentPath: undefined,
    answer: undefined,
    endAfter: undefined,
    pieceBytes: 0,
    pings: false,
    lineEnd: '\n',
    stepMs: undefined,
  };
  readonly model: ToyModel;
  /** Requests for tokens, the newest last. */
  readonly requests: { path: string; headers: HttpRequest['headers']; text: string; body: Record<string, unknown> }[] = [];
  /** Bytes of every event that was sent, by the id of its answer. */
  readonly sent = new Map<string, string>();
  /** Requests and questions of every kind. */
  asked = 0;
  /** Requests whose client left before their end. */
  aborted = 0;
  readonly #options: Required<Omit<OpenaiServerOptions, 'apiKey'>> & { apiKey: string | undefined };
  readonly #blocks: number;
  #running: Running[] = [];
  #waiting: Running[] = [];
  #cancelStep: Cancel | undefined;
  #startedAtS = 1_700_000_000;

  constructor(options: OpenaiServerOptions) {
    this.#options = { model: 'tiny', stepMs: 5, maxRunning: 4, contextTokens: 240, halves: false, devMode: true, apiKey: undefined, ...options };
    this.model = new ToyModel({ halves: this.#options.halves });
    this.#blocks = (this.#options.contextTokens / blockTokens) * this.#options.maxRunning;
  }

  get running(): number {
    return this.#running.length;
  }

  /** As if the process had been started anew. */
  restarted(): void {
    this.#startedAtS++;
  }

  readonly handler: HttpHandler = async (request, response) => {
    const { kind, model, contextTokens, maxRunning, apiKey, devMode } = this.#options;
    const json = (body: unknown, status = 200, headers: Record<string, string> = {}) => {
      response.head(status, { 'content-type': 'application/json', ...headers });
      response.end(JSON.stringify(body));
    };
    const { path } = request;
    this.asked += 1;
    if (path === this.script.silentPath) return;
    const isHealth = path === '/health';
    if (apiKey && !isHealth && request.headers.authorization !== `Bearer ${apiKey}`) return json({ error: { message: 'Unauthorized' } }, 401);
    if (isHealth && kind !== 'generic') return json({}, this.script.dead ? 503 : 200);
    if (path === '/v1/models') {
      const owner = { vllm: 'vllm', sglang: 'sglang', 'llama-server': 'llamacpp', generic: 'somebody' }[kind];
      const size = kind === 'llama-server' ? { meta: { n_ctx: contextTokens } } : kind === 'generic' ? {} : { max_model_len: contextTokens };
      return json({ object: 'list', data: [{ id: model, object: 'model', owned_by: owner, ...size }] });
    }
    if (path === '/metrics') {
      const text = metricsText(kind, this.#load());
      if (text === undefined) return json({}, 404);
      response.head(200, { 'content-type': 'text/plain' });
      return response.end(text);
    }
    if (kind === 'vllm' && path === '/version') return json({ version: '0.32.0' });
    if (kind === 'vllm' && devMode && path === '/is_paused') return json({ is_paused: this.script.paused });
    if (kind === 'sglang' && path === '/get_server_info')
      return json({
        version: '0.5.9',
        max_total_num_tokens: this.#blocks * blockTokens,
        page_size: blockTokens,
        internal_states: [{ max_running_requests: maxRunning }],
      });
    if (kind === 'llama-server' && path === '/props')
      return json({ total_slots: maxRunning, build_info: 'b6600-abc', default_generation_settings: { n_ctx: contextTokens } });
    if (kind === 'llama-server' && path === '/slots') return json([]);
    if (request.method !== 'POST') return json({ detail: 'Not Found' }, 404);
    const text = Buffer.from(await request.body(10_000_000)).toString();
    let body: Record<string, unknown>;
    try {
      body = JSON.parse(text);
    } catch {
      return json({ error: { message: 'not JSON', type: 'BadRequestError', param: null, code: 400 } }, 400);
    }
    if (kind === 'vllm' && path === '/tokenize') {
      const tokens = this.#promptIds(body.messages !== undefined, body);
      return json({ count: tokens.length, max_model_len: contextTokens, tokens, token_strs: null });
    }
    if (path !== '/v1/chat/completions' && path !== '/v1/completions') return json({ detail: 'Not Found' }, 404);
    return this.#generate(request, response, path === '/v1/chat/completions', text, body, json);
  };

  async #generate(
    request: HttpRequest,
    response: HttpResponse,
    chat: boolean,
    text: string,
    body: Record<string, unknown>,
    json: (body: unknown, status?: number, headers?: Record<string, string>) => void,
  ): Promise<void> {
    const { kind, model, contextTokens } = this.#options;
    const bad = (message: string, status = 400) => json({ error: { message, type: 'BadRequestError', param: null, code: status } }, status);
    this.requests.push({ path: request.path, headers: request.headers, text, body });
    const { script } = this;
    if (script.dead) return bad('EngineCore encountered an issue', 500);
    if (script.answer) return json(script.answer.body, script.answer.status, script.answer.headers);
    if (body.model !== model) return bad(`The model \`${body.model}\` does not exist.`, 404);
    if (kind === 'sglang' && chat && body.stream === true && body.return_token_ids === true)
      return bad('return_token_ids is not supported with stream');
    const promptIds = this.#promptIds(chat, body);
    if (promptIds.length === 0) return bad('a prompt is needed');
    if (promptIds.length >= contextTokens)
      return bad(`This model's maximum context length is ${contextTokens} tokens. However, your request has ${promptIds.length} input tokens.`);
    const given = [body.max_completion_tokens, body.max_tokens].find((value) => typeof value === 'number') as number | undefined;
    if (kind === 'vllm' && given !== undefined && promptIds.length + given > contextTokens)
      return bad(`'max_tokens' is too large: ${given}. This model's maximum context length is ${contextTokens} tokens.`);
    const knowsIds = kind === 'vllm' || kind === 'sglang';
    const options = body.stream_options as { include_usage?: boolean } | undefined;
    const named = kind === 'vllm' ? request.headers['x-request-id'] : undefined;
    const one: Running = {
      stream: {
        chat,
        id: `${chat ? 'chatcmpl' : 'cmpl'}-${named ?? `${kind}-${this.requests.length}`}`,
        created: this.#startedAtS,
        model,
        promptIds,
        withIds: knowsIds && body.return_token_ids === true,
      },
      response,
      streams: body.stream === true,
      usage: options?.include_usage === true,
      stop: [body.stop ?? []].flat() as string[],
      includeStop: false,
      limit: Math.min(given ?? Number.POSITIVE_INFINITY, contextTokens - promptIds.length),
      whole: new WholeText(),
      done: Promise.withResolvers(),
      ids: [],
      text: '',
      shown: 0,
      spoke: false,
    };
    response.onClientLeft(() => {
      this.aborted++;
      this.#running = this.#running.filter((other) => other !== one);
      this.#waiting = this.#waiting.filter((other) => other !== one);
      one.done.resolve();
    });
    this.#waiting.push(one);
    this.#wake();
    await one.done.promise;
  }

  #promptIds(chat: boolean, body: Record<string, unknown>): number[] {
    if (!chat) return Array.isArray(body.prompt) ? (body.prompt as number[]) : this.model.tokens(String(body.prompt ?? ''));
    const messages = (body.messages ?? []) as { role: string; content: string }[];
    const open = body.continue_final_message === true;
    const text = messages.map(({ role, content }, index) => `<|${role}|>${content}${open && index === messages.length - 1 ? '' : '\n'}`).join('');
    return messages.length === 0 ? [] : this.model.tokens(open ? text : `${text}<|assistant|>`);
  }

  #load() {
    const used = this.#running.reduce((sum, { stream, ids }) => sum + Math.ceil((stream.promptIds.length + ids.length) / blockTokens), 0);
    const { length: running } = this.#running;
    return { running, waiting: this.#waiting.length, usedBlocks: used, blocks: this.#blocks, blockTokens, startedAtS: this.#startedAtS };
  }

  /** While anything is there. */
  #wake(): void {
    if (this.#cancelStep || this.#running.length + this.#waiting.length === 0) return;
    this.#cancelStep = this.#options.clock.after(this.script.stepMs ?? this.#options.stepMs, () => {
      this.#cancelStep = undefined;
      this.#step();
      this.#wake();
    });
  }

  #step(): void {
    if (this.script.paused || this.script.dead) return;
    while (this.#running.length < this.#options.maxRunning && this.#waiting.length > 0) this.#running.push(this.#waiting.shift()!);
    for (const one of [...this.#running]) this.#token(one);
  }

  #token(one: Running): void {
    const { kind } = this.#options;
    const { endAfter } = this.script;
    if (endAfter && one.ids.length >= endAfter.tokens) {
      this.#endBadly(one, endAfter.how);
      return;
    }
    const id = this.model.next([...one.stream.promptIds, ...one.ids]);
    const first = one.ids.length === 0;
    one.ids.push(id);
    one.text += one.whole.push(this.model.bytes(id));
    const { length, stopped } = showable(one.text, one.stop);
    const finishReason = stopped ? 'stop' : one.ids.length >= one.limit ? 'length' : null;
    const end = finishReason === 'length' ? one.text.length : length;
    const text = one.text.slice(one.shown, end);
    one.shown = end;
    if (one.streams) {
      if (first) this.#begin(one);
      if (this.script.pings) this.#write(one, `: ping${this.script.lineEnd}${this.script.lineEnd}`);
      // Without ids a server has nothing to say of a token without text.
      if (text !== '' || one.stream.withIds || finishReason !== null)
        this.#send(one, tokenChunk(kind, one.stream, { text, ids: [id], finishReason } satisfies Chunk, first));
    }
    if (finishReason !== null) this.#finish(one, finishReason);
  }

  #begin(one: Running): void {
    one.response.head(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    const role = roleChunk(this.#options.kind, one.stream);
    if (role) this.#send(one, role);
  }

  #finish(one: Running, finishReason: string): void {
    this.#leave(one);
    const { kind } = this.#options;
    if (!one.streams) {
      const answer = JSON.stringify(wholeAnswer(kind, one.stream, { text: one.text.slice(0, one.shown), ids: one.ids, finishReason }));
      one.response.head(200, { 'content-type': 'application/json' });
      this.sent.set(one.stream.id, answer);
      one.response.end(answer);
    } else {
      if (one.usage) this.#send(one, usageChunk(kind, one.stream, one.ids.length));
      this.#write(one, `data: [DONE]${this.script.lineEnd}${this.script.lineEnd}`);
      one.response.end();
    }
    one.done.resolve();
  }

  #endBadly(one: Running, how: NonNullable<ServerScript['endAfter']>['how']): void {
    this.#leave(one);
    if (!one.response.headSent) one.response.head(200, { 'content-type': one.streams ? 'text/event-stream' : 'application/json' });
    if (how === 'cut') {
      one.done.reject(new Error('cut by the script'));
      return;
    }
    if (how === 'abort') {
      const chunk: Chunk = { text: '', ids: [], finishReason: 'abort' };
      if (one.streams) this.#send(one, tokenChunk(this.#options.kind, one.stream, chunk, false));
      else one.response.write(JSON.stringify(wholeAnswer(this.#options.kind, one.stream, { ...chunk, ids: one.ids })));
      if (one.streams) this.#write(one, 'data: [DONE]\n\n');
    }
    if (how === 'error') this.#write(one, `data: ${JSON.stringify({ error: { message: 'Internal server error', code: 500 } })}\n\ndata: [DONE]\n\n`);
    if (how === 'half') this.#write(one, 'data: {"id":"');
    one.response.end();
    one.done.resolve();
  }

  #leave(one: Running): void {
    this.#running = this.#running.filter((other) => other !== one);
  }

  #send(one: Running, chunk: unknown): void {
    const { lineEnd } = this.script;
    const event = `data: ${JSON.stringify(chunk)}${lineEnd}${lineEnd}`;
    this.sent.set(one.stream.id, (this.sent.get(one.stream.id) ?? '') + event);
    this.#write(one, event);
  }

  #write(one: Running, text: string): void {
    const bytes = Buffer.from(text);
    const { pieceBytes } = this.script;
    if (pieceBytes === 0) {
      one.response.write(bytes);
      return;
    }
    for (let at = 0; at < bytes.length; at += pieceBytes) one.response.write(bytes.subarray(at, at + pieceBytes));
  }
}
