// One request at a server: waits for its turn, is sent from its beginning or where another instance stopped, is held, cancelled,
// and ends. What comes back is read in answer.ts.
import { refusal } from '../../../core/errors/switchyard-error.ts';
import { continuationNeeds } from '../../../core/openai/continuation.ts';
import type { Carry, Refusal } from '../../../proto/gen/messages.ts';
import type { EngineEvent, GenerateRequest } from '../../ports/engines.ts';
import type { RunningCall } from '../../ports/http.ts';
import { Answer } from './answer.ts';
import { refusalOfAnswer } from './answered.ts';
import type { Fields, ServerClient } from './client.ts';
import { dialects } from './dialects/dialects.ts';
import type { ServerFacts } from './facts.ts';
import type { Stopped } from './kv/moved-state.ts';
import { StreamLog } from './kv/stream-log.ts';
import { addsLimit, asksForIds, asksForLogprobs, hasChoices, outputLimit, paths, restFromTokens, wholeRequest } from './request-bytes.ts';
import { type Rest, restOf } from './resume.ts';
import { answerEdits, chatUsageChunk, lastChunk } from './said-bytes.ts';
import { SseParser } from './sse.ts';

export interface GenerationHost {
  readonly client: ServerClient;
  /** The name that answers carry. */
  readonly model: string;
  say(generation: Generation, event: EngineEvent): void;
  /** It has said its last word; `error` when that was one. */
  over(generation: Generation, error: Refusal | undefined): void;
  /** The token ids of its prompt. */
  promptKnown(generation: Generation, ids: readonly number[]): void;
  /** The server has sent something. */
  heard(): void;
}

/** What is known of a request that goes on here from its tokens. */
export interface Resumption {
  readonly promptIds: readonly number[];
  /** Fields by which the server uses KV that is there already; without them it computes the whole context. */
  readonly extra?: Fields;
}

const noBytes = new Uint8Array(0);
const maxErrorBytes = 65_536;
const maxBodyBytes = 256 * 1024 * 1024;

export class Generation {
  readonly request: GenerateRequest;
  readonly fields: Fields;
  held: boolean;
  /** Nothing that it has said may be told any more. */
  silenced = false;
  /** It does not begin: somebody else may be taking it over. */
  paused = false;
  /** What it has said, for whoever goes on with it. */
  readonly log: StreamLog;
  readonly #host: GenerationHost;
  #state: 'waiting' | 'sent' | 'ended' = 'waiting';
  #answer: Answer | undefined;
  #call: RunningCall | undefined;
  #parser = new SseParser();
  /** What came while it was held. */
  #parked: (() => void)[] = [];
  #status = 0;
  #headers: Readonly<Record<string, string | undefined>> = {};
  #body: Uint8Array[] = [];
  #bodyBytes = 0;
  #facts: ServerFacts | undefined;
  #unlimited = false;
  #resumption: Resumption | undefined;

  constructor(host: GenerationHost, request: GenerateRequest, fields: Fields, held: boolean, resumption?: Resumption) {
    this.log = new StreamLog(request.resumeTokenIds);
    this.#resumption = resumption;
    this.#host = host;
    this.request = request;
    this.fields = fields;
    this.held = held;
  }

  get phase(): 'waiting' | 'prefill' | 'decode' | 'ended' {
    if (this.#state !== 'sent') return this.#state;
    return this.#answer?.began ? 'decode' : 'prefill';
  }

  /** As estimated, until the server has said it. */
  get promptTokens(): number {
    return this.#answer?.promptTokens ?? (this.request.promptTokens || Math.ceil(this.request.body.length / 4));
  }

  /** Of the whole request, those of other instances included; pieces where tokens are not known. */
  get outputTokens(): number {
    return this.#answer?.outputTokens ?? this.request.nextIndex;
  }

  /** Answers that do not stream are silent until they are whole. */
  get isSilent(): boolean {
    return this.#state === 'sent' && !this.request.clientStreams;
  }

  async start(facts: ServerFacts): Promise<void> {
    this.#state = 'sent';
    this.#facts = facts;
    const { request, fields } = this;
    if (request.nextIndex === 0) {
      this.#send(facts, { body: wholeRequest(request, fields, facts, true), path: paths[this.#endpoint], promptIds: undefined }, undefined);
      return;
    }
    if ((outputLimit(fields, request) ?? Number.POSITIVE_INFINITY) <= request.nextIndex) {
      this.#endAtOnce();
      return;
    }
    if (this.#resumption) {
      this.#resume(facts, this.#resumption);
      return;
    }
    const rest = await restOf(this.#host.client, facts, request, fields).catch((thrown: Error) =>
      refusal('engine_unavailable', `${this.#host.client.url}: ${thrown.message}`),
    );
    if (this.#isEnded) return;
    if ('code' in rest) this.refuse(rest);
    else this.#send(facts, rest, request.carry ?? this.#ownCarry());
  }

  hold(held: boolean): void {
    this.held = held;
    if (held) {
      this.#call?.pause();
      return;
    }
    for (const run of this.#parked.splice(0)) run();
    this.#call?.resume();
  }

  /** Why it cannot be stopped here and go on elsewhere from its tokens, or undefined. */
  whyNotMovable(): string | undefined {
    const carry = this.#answer?.carry;
    if (this.phase !== 'decode' || !carry) return `it is in ${this.phase}`;
    if (!this.request.clientStreams) return 'the answer of a client that does not stream comes in one piece';
    if (!this.log.isWhole) return 'its token ids are not known';
    if (carry.phase !== 'answer') return `it is in the middle of its ${carry.phase}`;
    const [need] = continuationNeeds(this.fields);
    return need && `a request with ${need} cannot be continued from its tokens`;
  }

  /** Ends its stream at the last token that was told. Only after `whyNotMovable` had nothing to say. */
  stop(): Stopped {
    const { promptIds, outputIds, told } = this.log;
    const { carry, cachedTokens } = this.#answer!;
    this.#end();
    const request = { ...this.request, resumeTokenIds: outputIds, resumeText: '', nextIndex: outputIds.length, reservationId: '', carry: carry! };
    return { request, promptIds, outputIds, carry: carry!, cachedTokens, told };
  }

  /** Ends it without a word: the connection is destroyed, by which the server knows. */
  cancel(): void {
    this.silenced = true;
    this.#end();
  }

  /** Ends it with why. */
  refuse(error: Refusal): void {
    this.#say({ error });
    this.#over(error);
  }

  /** A sign of life, which says no token. */
  sayAlive(): void {
    this.#say({});
  }

  get #isEnded(): boolean {
    return this.#state === 'ended';
  }

  get #endpoint(): 'chat' | 'completions' {
    return this.request.endpoint === 'completions' ? 'completions' : 'chat';
  }

  #send(facts: ServerFacts, { body, path, promptIds }: Rest, carry: Carry | undefined): void {
    const { request } = this;
    this.#answer = this.#answerOf(facts, promptIds, carry);
    const later = (run: () => void) => {
      if (this.#isEnded) return;
      if (this.held) this.#parked.push(run);
      else run();
    };
    this.#call = this.#host.client.call({
      path,
      body,
      headers: { 'x-request-id': request.requestId, ...(request.traceparent ? { traceparent: request.traceparent } : {}) },
      onHead: (status, headers) => {
        this.#host.heard();
        this.#status = status;
        this.#headers = headers;
      },
      onData: (bytes) => {
        this.#host.heard();
        later(() => this.#data(bytes));
      },
      onEnd: () => later(() => this.#bodyEnded()),
      onFailed: (why) => later(() => this.#answer!.ended(why.message)),
    });
    if (this.held) this.#call.pause();
  }

  #answerOf(facts: ServerFacts, promptIds: readonly number[] | undefined, carry: Carry | undefined): Answer {
    const { request, fields } = this;
    const { model } = this.#host;
    let spared = false;
    const asked = promptIds !== undefined || asksForIds(request, facts);
    const tellsIds = fields.return_token_ids === true;
    const wishes = {
      hidesIds: asked && !tellsIds && facts.kind !== 'llama-server',
      hidesLogprobs: asked && facts.kind === 'llama-server' && !asksForLogprobs(fields) ? (promptIds ? 'completions' : this.#endpoint) : undefined,
      hidesUsage: request.clientStreams && !request.includeUsage,
      model: facts.model === model ? undefined : model,
      carry,
    };
    return new Answer({
      url: this.#host.client.url,
      model,
      edits: answerEdits(wishes, dialects[facts.kind]),
      carry,
      asChat: promptIds !== undefined && this.#endpoint === 'chat',
      withIds: asked && !hasChoices(fields),
      tellsIds,
      tellsUsage: request.includeUsage,
      choices: typeof fields.n === 'number' && fields.n > 1 ? fields.n : 1,
      startTokens: request.nextIndex,
      promptTokens: this.promptTokens,
      promptIds,
      promptKnown: (ids) => this.#promptKnown(facts, ids),
      say: (event) => {
        spared = event.error !== undefined && event.error !== null && this.#canResumeAlone;
        if (!spared) this.#say(event);
      },
      over: (error) => {
        if (spared) this.#resumeAlone(facts);
        else this.#over(error);
      },
    });
  }

  #data(bytes: Uint8Array): void {
    if (this.#isEnded) return;
    if (this.#status !== 200 || !this.request.clientStreams) {
      this.#bodyBytes += bytes.length;
      if (this.#bodyBytes <= (this.#status === 200 ? maxBodyBytes : maxErrorBytes)) this.#body.push(bytes);
      return;
    }
    try {
      for (const event of this.#parser.push(bytes)) {
        if (this.#isEnded) return;
        this.#answer!.event(event);
      }
    } catch (thrown) {
      if (!(thrown instanceof RangeError)) throw thrown;
      this.refuse(refusal('engine_error', `${this.#host.client.url} sends ${thrown.message}`));
    }
  }

  #bodyEnded(): void {
    if (this.#isEnded) return;
    const { url } = this.#host.client;
    if (this.#status !== 200) this.#refused(refusalOfAnswer(url, this.#status, this.#headers, Buffer.concat(this.#body).toString()));
    else if (this.request.clientStreams)
      this.#answer!.ended(this.#parser.rest.length > 0 ? 'the stream ends in the middle of an event' : 'the stream ends without a finish_reason');
    else if (this.#bodyBytes > maxBodyBytes) this.refuse(refusal('engine_error', `${url} answers with more than ${maxBodyBytes} bytes`));
    else this.#answer!.whole(Buffer.concat(this.#body));
  }

  /** A limit that the client never set must not be why its prompt does not fit: the context ends its answer before that limit. */
  #refused(error: Refusal): void {
    const { request, fields } = this;
    if (this.#canResumeAlone) {
      this.#resumeAlone(this.#facts!);
      return;
    }
    if (error.code !== 'context_length_exceeded' || this.#unlimited || request.nextIndex > 0 || !addsLimit(fields, request)) {
      this.refuse(error);
      return;
    }
    this.#unlimited = true;
    this.#body = [];
    this.#bodyBytes = 0;
    const body = wholeRequest(request, fields, this.#facts!, false);
    this.#send(this.#facts!, { body, path: paths[this.#endpoint], promptIds: undefined }, undefined);
  }

  #resume(facts: ServerFacts, { promptIds, extra }: Resumption): void {
    const body = restFromTokens(this.request, this.fields, facts, promptIds, extra);
    this.#send(facts, { body, path: paths.completions, promptIds }, this.request.carry ?? this.#ownCarry());
  }

  get #canResumeAlone(): boolean {
    return this.#resumption?.extra !== undefined && this.#answer?.began !== true;
  }

  /** The server could not use the KV: it computes the whole context. */
  #resumeAlone(facts: ServerFacts): void {
    this.#call?.abort();
    this.#resumption = { promptIds: this.#resumption!.promptIds };
    this.#parser = new SseParser();
    this.#body = [];
    this.#bodyBytes = 0;
    this.#resume(facts, this.#resumption);
  }

  #promptKnown(facts: ServerFacts, ids: readonly number[]): void {
    if (facts.kvConnector || facts.slots) this.log.promptIds = ids;
    this.#host.promptKnown(this, ids);
  }

  /** Everything was said before the other instance failed, but that it is over. */
  #endAtOnce(): void {
    const { request } = this;
    const carry = request.carry ?? this.#ownCarry();
    const usage = { promptTokens: carry.promptTokens || this.promptTokens, outputTokens: this.outputTokens, cachedTokens: 0 };
    const last = lastChunk(carry, this.#endpoint, 'length');
    this.#say({ data: request.includeUsage ? Buffer.concat([last, chatUsageChunk(carry, usage)]) : last, finishReason: 'length', usage });
    this.#over(undefined);
  }

  /** For a stream of which nothing is known but its request. */
  #ownCarry(): Carry {
    const { requestId, createdS } = this.request;
    const answerId = `${this.#endpoint === 'chat' ? 'chatcmpl' : 'cmpl'}-${requestId}`;
    return { answerId, createdS, model: this.#host.model, promptTokens: 0, promptCrc: 0, phase: 'answer' };
  }

  #say(event: Partial<EngineEvent>): void {
    const { requestId, epoch } = this.request;
    const nothing = { tokenIds: [], text: '', data: noBytes, finishReason: '', finalBody: noBytes };
    const said = { requestId, epoch, index: this.outputTokens, ...nothing, ...event };
    this.log.add(said);
    this.#host.say(this, said);
  }

  #over(error: Refusal | undefined): void {
    // A call that has ended well keeps its connection for the next one: its last bytes are still to come.
    if (error) this.#end();
    this.#state = 'ended';
    this.#parked = [];
    this.#host.over(this, error);
  }

  #end(): void {
    this.#state = 'ended';
    this.#parked = [];
    this.#call?.abort();
  }
}
