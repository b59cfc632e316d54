// One request at a server: sends it, reads what comes back, and says it as events. Tokens whose text is not whole yet, a role, and
// the end wait for what completes them, so that every cut is at a boundary of the text and no answer is ended by halves.
import { refusal } from '../../../core/errors/switchyard-error.ts';
import type { Edits } from '../../../core/openai/edit-json.ts';
import { edited } from '../../../core/openai/edit-json.ts';
import type { Carry, Refusal, Usage } from '../../../proto/gen/messages.ts';
import type { EngineEvent, GenerateRequest } from '../../ports/engines.ts';
import type { RunningCall } from '../../ports/http.ts';
import { refusalOfAnswer, refusalOfError } from './answered.ts';
import { type ChoiceSaid, readSaid, type Said } from './chunk.ts';
import type { Fields, ServerClient } from './client.ts';
import { dialects } from './dialects/dialects.ts';
import type { ServerFacts } from './facts.ts';
import { asksForIds, hasChoices, outputLimit, paths, wholeRequest } from './request-bytes.ts';
import { crcOf, restOf } from './resume.ts';
import { answerEdits, carryOf, chatChunk, chatUsageChunk, editedEvent, lastChunk, usageEdits } from './said-bytes.ts';
import { type SseEvent, SseParser } from './sse.ts';

export interface GenerationHost {
  readonly client: ServerClient;
  /** The name that answers carry. */
  readonly model: string;
  say(generation: Generation, event: EngineEvent): void;
  /** It has said its last word; `error` when that was one. */
  over(generation: Generation, error: Refusal | undefined): void;
  /** The server has sent something. */
  heard(): void;
}

const noBytes = new Uint8Array(0);
/** Tokens that wait for the rest of a character, at most. */
const maxUntold = 256;
const maxErrorBytes = 65_536;
const maxBodyBytes = 256 * 1024 * 1024;
const endOfStream = '[DONE]';

export class Generation {
  readonly request: GenerateRequest;
  readonly fields: Fields;
  phase: 'waiting' | 'prefill' | 'decode' | 'ended' = 'waiting';
  held: boolean;
  promptTokens: number;
  cachedTokens = 0;
  /** Of the whole request, those of other instances included; pieces where tokens are not known. */
  outputTokens: number;
  readonly #host: GenerationHost;
  #facts!: ServerFacts;
  #call: RunningCall | undefined;
  #parser = new SseParser();
  #parked: (() => void)[] = [];
  #edits: Edits = {};
  /** Undefined: the server's own chunks go to the client. */
  #asChat: Carry | undefined;
  #carry: Carry | undefined;
  #promptCrc = 0;
  #promptIsExact = false;
  #exact = false;
  #startTokens: number;
  #untold: { ids: number[]; pieces: number; text: string; data: Uint8Array[] } = emptyUntold();
  #finishReason = '';
  #choicesLeft = 1;
  #usage: Usage | undefined;
  #status = 0;
  #body: Uint8Array[] = [];
  #bodyBytes = 0;

  constructor(host: GenerationHost, request: GenerateRequest, fields: Fields, held: boolean) {
    this.#host = host;
    this.request = request;
    this.fields = fields;
    this.held = held;
    this.promptTokens = request.promptTokens || Math.ceil(request.body.length / 4);
    this.outputTokens = request.nextIndex;
    this.#startTokens = request.nextIndex;
  }

  /** Answers that do not stream are silent until they are whole. */
  get isSilent(): boolean {
    return this.phase === 'prefill' && !this.request.clientStreams;
  }

  async start(facts: ServerFacts): Promise<void> {
    this.#facts = facts;
    this.phase = 'prefill';
    const { request } = this;
    if (request.nextIndex === 0) {
      this.#send(wholeRequest(request, this.fields, facts), paths[this.#endpoint], undefined);
      return;
    }
    if ((outputLimit(this.fields, request) ?? Number.POSITIVE_INFINITY) <= request.nextIndex) {
      this.#endAtOnce();
      return;
    }
    try {
      const rest = await restOf(this.#host.client, facts, request, this.fields);
      if (this.#isEnded) return;
      if ('code' in rest) {
        this.#fail(rest);
        return;
      }
      const carry = request.carry ?? this.#ownCarry();
      if (rest.promptIds) this.#knowPrompt(rest.promptIds);
      if (rest.promptIds && this.#endpoint === 'chat') this.#asChat = carry;
      this.#send(rest.body, rest.path, carry);
    } catch (thrown) {
      if (!this.#isEnded) this.#fail(refusal('engine_unavailable', `${this.#host.client.url}: ${(thrown as Error).message}`));
    }
  }

  hold(held: boolean): void {
    this.held = held;
    if (held) this.#call?.pause();
    else {
      for (const run of this.#parked.splice(0)) run();
      if (!this.held) this.#call?.resume();
    }
  }

  /** Nothing that it has said may be told any more. */
  silenced = false;

  /** Ends it without a word: the connection is destroyed, by which the server knows. */
  cancel(): void {
    this.phase = 'ended';
    this.silenced = true;
    this.#parked = [];
    this.#call?.abort();
  }

  get #isEnded(): boolean {
    return this.phase === 'ended';
  }

  get #endpoint(): 'chat' | 'completions' {
    return this.request.endpoint === 'completions' ? 'completions' : 'chat';
  }

  #send(body: Uint8Array, path: string, carry: Carry | undefined): void {
    const { request, fields } = this;
    const asked = carry !== undefined || asksForIds(request, this.#facts);
    this.#exact = asked && !hasChoices(fields);
    this.#choicesLeft = typeof fields.n === 'number' && fields.n > 1 ? fields.n : 1;
    const model = this.#facts.model === this.#host.model ? undefined : this.#host.model;
    const hidesIds = asked && fields.return_token_ids !== true;
    const hidesUsage = request.clientStreams && !request.includeUsage;
    this.#edits = answerEdits({ hidesIds, hidesUsage, model, carry }, dialects[this.#facts.kind]);
    this.#carry = carry;
    const later = (run: () => void) => () => (this.held ? void this.#parked.push(run) : run());
    this.#call = this.#host.client.call({
      path,
      body,
      headers: { 'x-request-id': request.requestId, ...(request.traceparent ? { traceparent: request.traceparent } : {}) },
      onHead: (status, headers) => this.#head(status, headers),
      onData: (bytes) => {
        this.#host.heard();
        later(() => this.#data(bytes))();
      },
      onEnd: later(() => this.#end()),
      onFailed: (why) => later(() => this.#broken(why.message))(),
    });
    if (this.held) this.#call.pause();
  }

  #headers: Readonly<Record<string, string | undefined>> = {};

  #head(status: number, headers: Readonly<Record<string, string | undefined>>): void {
    this.#host.heard();
    this.#status = status;
    this.#headers = headers;
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
        this.#event(event);
      }
    } catch (thrown) {
      if (!(thrown instanceof RangeError)) throw thrown;
      this.#fail(refusal('engine_error', `${this.#host.client.url} sends ${thrown.message}`));
    }
  }

  /** The body is whole. */
  #end(): void {
    if (this.#isEnded) return;
    const body = Buffer.concat(this.#body);
    if (this.#status !== 200) {
      this.#fail(refusalOfAnswer(this.#host.client.url, this.#status, this.#headers, body.toString()));
      return;
    }
    if (!this.request.clientStreams) {
      this.#whole(body);
      return;
    }
    this.#broken(this.#parser.rest.length > 0 ? 'the stream ends in the middle of an event' : 'the stream ends without a finish_reason');
  }

  #broken(why: string): void {
    if (this.#isEnded) return;
    // The server has said that it is done: what is missing is its usage at most.
    if (this.#finishReason !== '' && this.#choicesLeft === 0) {
      this.#finish();
      return;
    }
    this.#fail(refusal('engine_unavailable', `${this.#host.client.url}: ${why}`));
  }

  #event(event: SseEvent): void {
    if (event.dataEnd === event.dataStart) {
      this.#sayNothing();
      return;
    }
    const text = event.bytes.toString('utf8', event.dataStart, event.dataEnd);
    if (text.trim() === endOfStream) {
      this.#broken('the stream ends without a finish_reason');
      return;
    }
    const said = readSaid(text);
    if (!said) {
      this.#fail(refusal('engine_error', `${this.#host.client.url} sends a chunk that is no JSON object`));
      return;
    }
    if (said.error !== undefined) {
      this.#fail(refusalOfError(this.#host.client.url, said.error));
      return;
    }
    if (said.usage) this.#knowUsage(said.usage);
    if (said.promptIds) this.#knowPrompt(said.promptIds);
    const [choice, ...others] = said.choices;
    if (!choice) {
      this.#aside(event, said);
      return;
    }
    this.#choicesLeft -= others.filter(({ finishReason }) => finishReason !== '').length;
    if (choice.finishReason === 'abort' || choice.finishReason === 'error') {
      this.#fail(refusal('engine_unavailable', `${this.#host.client.url} has given up the request (finish_reason ${choice.finishReason})`));
      return;
    }
    this.#take(event, said, choice);
  }

  /** A chunk without choices: usage, or what some servers say before they begin. */
  #aside(event: SseEvent, said: Said): void {
    if (said.usage && (!this.request.includeUsage || this.#choicesLeft > 0)) return;
    if (this.#asChat) {
      if (said.usage) this.#untold.data.push(chatUsageChunk(this.#asChat, this.#usage!));
      return;
    }
    const continued = said.usage && this.#startTokens > 0;
    this.#untold.data.push(editedEvent(event, continued ? { ...this.#edits, ...usageEdits(this.#usage!) } : this.#edits));
  }

  #take(event: SseEvent, said: Said, choice: ChoiceSaid): void {
    const ids = this.#exact ? choice.tokenIds : undefined;
    if (!choice.silent || (ids && ids.length > 0)) this.phase = 'decode';
    // Tokens cannot be told apart any more: from here on the log is one of text.
    if (!ids && !choice.silent) this.#exact = false;
    const untold = this.#untold;
    if (this.#exact) untold.ids.push(...(ids ?? []));
    else if (!choice.silent) untold.pieces++;
    untold.text += choice.text;
    this.#show(event, choice);
    if (choice.finishReason !== '') {
      this.#finishReason = choice.finishReason;
      this.#choicesLeft--;
      return;
    }
    if (choice.silent && untold.ids.length < maxUntold) return;
    this.#tell(said, choice);
  }

  #show(event: SseEvent, choice: ChoiceSaid): void {
    // A second role in the middle of an answer would begin another one.
    if (this.#startTokens > 0 && choice.silent && choice.finishReason === '' && !(choice.tokenIds && choice.tokenIds.length > 0)) return;
    const data = this.#asChat ? chatChunk(this.#asChat, choice, this.fields.return_token_ids === true) : editedEvent(event, this.#edits);
    this.#untold.data.push(data);
  }

  #tell(said: Said, choice: ChoiceSaid): void {
    const { ids, pieces } = this.#untold;
    // Tokens known and pieces after them cannot be in one event: they count differently.
    const counted = pieces > 0 ? { tokenIds: [], pieces: { count: ids.length + pieces } } : { tokenIds: ids };
    const count = ids.length + pieces;
    if (count === 0) return;
    const { text, data } = this.#untold;
    this.#untold = emptyUntold();
    const carry = this.#newCarry(said, choice);
    this.#say({ ...counted, text, data: joined(data), ...(carry ? { carry } : {}) });
    this.outputTokens += count;
  }

  #finish(): void {
    const { ids, pieces, text, data } = this.#untold;
    const counted = pieces > 0 ? { tokenIds: [], pieces: { count: ids.length + pieces } } : { tokenIds: ids };
    this.#say({ ...counted, text, data: joined(data), finishReason: this.#finishReason, usage: this.#finalUsage(ids.length + pieces) });
    this.outputTokens += ids.length + pieces;
    this.#over(undefined);
  }

  #whole(body: Buffer): void {
    const said = readSaid(body.toString());
    const server = this.#host.client.url;
    if (!said || said.error !== undefined) {
      this.#fail(said ? refusalOfError(server, said.error) : refusal('engine_error', `${server} answers with what is no JSON object`));
      return;
    }
    const bad = said.choices.find(({ finishReason }) => finishReason === 'abort' || finishReason === 'error');
    if (bad) {
      this.#fail(refusal('engine_unavailable', `${server} has given up the request (finish_reason ${bad.finishReason})`));
      return;
    }
    const [choice] = said.choices;
    if (!choice || said.choices.some(({ finishReason }) => finishReason === '')) {
      this.#fail(refusal('engine_unavailable', `${server} answers without a finish_reason`));
      return;
    }
    if (said.usage) this.#knowUsage(said.usage);
    if (said.promptIds) this.#knowPrompt(said.promptIds);
    const ids = this.#exact && said.choices.length === 1 ? choice.tokenIds : undefined;
    const count = ids?.length ?? 1;
    const counted = ids ? { tokenIds: ids } : { tokenIds: [], pieces: { count } };
    const usage = said.usage ?? this.#finalUsage(count);
    this.#say({ ...counted, text: choice.text, finishReason: choice.finishReason, usage, finalBody: edited(body, this.#edits) });
    this.outputTokens += count;
    this.#over(undefined);
  }

  /** Everything was said before the other instance failed, but that it is over. */
  #endAtOnce(): void {
    const carry = this.request.carry ?? this.#ownCarry();
    const usage = this.#finalUsage(0);
    const data = [lastChunk(carry, this.#endpoint, 'length'), ...(this.request.includeUsage ? [chatUsageChunk(carry, usage)] : [])];
    this.#say({ data: joined(data), finishReason: 'length', usage });
    this.#over(undefined);
  }

  #sayNothing(): void {
    if (this.#untold.data.length === 0) this.sayAlive();
  }

  /** A sign of life, which says no token. */
  sayAlive(): void {
    this.#say({});
  }

  #say(event: Partial<EngineEvent>): void {
    const { requestId, epoch } = this.request;
    const nothing = { tokenIds: [], text: '', data: noBytes, finishReason: '', finalBody: noBytes };
    this.#host.say(this, { requestId, epoch, index: this.outputTokens, ...nothing, ...event });
  }

  /** Before it was sent. */
  refuse(error: Refusal): void {
    this.#fail(error);
  }

  #fail(error: Refusal): void {
    this.#call?.abort();
    this.#say({ error });
    this.#over(error);
  }

  #over(error: Refusal | undefined): void {
    this.phase = 'ended';
    this.#parked = [];
    this.#host.over(this, error);
  }

  /** Told with the first token, and when the answer enters or leaves its reasoning or a tool call. */
  #newCarry(said: Said, choice: ChoiceSaid): Carry | undefined {
    const { phase } = choice;
    if (this.#carry && (this.#carry.phase === phase || (choice.silent && choice.text === ''))) return undefined;
    const promptTokens = this.#promptIsExact ? this.promptTokens : 0;
    const known = this.#carry ?? carryOf(said, { model: this.#host.model, promptTokens, promptCrc: this.#promptCrc, phase });
    this.#carry = { ...known, phase };
    return this.#carry;
  }

  /** For a stream of which nothing is known but its request. */
  #ownCarry(): Carry {
    const { requestId, createdS } = this.request;
    const answerId = `${this.#endpoint === 'chat' ? 'chatcmpl' : 'cmpl'}-${requestId}`;
    return { answerId, createdS, model: this.#host.model, promptTokens: 0, promptCrc: 0, phase: 'answer' };
  }

  #knowPrompt(ids: readonly number[]): void {
    this.promptTokens = ids.length;
    this.#promptCrc = crcOf(ids);
    this.#promptIsExact = true;
  }

  #knowUsage(usage: Usage): void {
    this.cachedTokens = usage.cachedTokens;
    const started = this.#startTokens;
    if (started === 0) this.promptTokens = usage.promptTokens;
    // To the server the tokens of the other instance are part of the prompt.
    else if (!this.#promptIsExact) this.promptTokens = Math.max(1, usage.promptTokens - started);
    this.#usage = { ...usage, promptTokens: this.promptTokens, outputTokens: started + usage.outputTokens };
  }

  #finalUsage(more: number): Usage {
    return this.#usage ?? { promptTokens: this.promptTokens, outputTokens: this.outputTokens + more, cachedTokens: this.cachedTokens };
  }
}

function emptyUntold() {
  return { ids: [], pieces: 0, text: '', data: [] };
}

function joined(data: readonly Uint8Array[]): Uint8Array {
  return data.length === 1 ? data[0]! : data.length === 0 ? noBytes : Buffer.concat(data);
}
