// What comes back for one request, as events. Tokens whose text is not whole yet, a role, and the end wait for what completes them,
// so that every cut is at a boundary of the text and no answer is ended by halves.
import { refusal } from '../../../core/errors/switchyard-error.ts';
import { type Edits, edited } from '../../../core/openai/edit-json.ts';
import type { Carry, Refusal, Usage } from '../../../proto/gen/messages.ts';
import type { EngineEvent } from '../../ports/engines.ts';
import { refusalOfError } from './answered.ts';
import { type ChoiceSaid, readSaid, type Said } from './chunk.ts';
import { crcOf } from './resume.ts';
import { carryOf, chatChunk, chatUsageChunk, editedEvent, usageEdits } from './said-bytes.ts';
import type { SseEvent } from './sse.ts';

export interface AnswerOptions {
  /** Of the server, for what is said about it. */
  readonly url: string;
  /** The name that answers carry. */
  readonly model: string;
  /** What becomes of every chunk. */
  readonly edits: Edits;
  /** Of the stream that is continued. */
  readonly carry: Carry | undefined;
  /** The chunks are those of a completion, and the client's stream is a chat. */
  readonly asChat: boolean;
  /** Token ids were asked for, and there is one answer whose tokens they are. */
  readonly withIds: boolean;
  readonly tellsIds: boolean;
  readonly tellsUsage: boolean;
  readonly choices: number;
  /** Output tokens that another instance has produced. */
  readonly startTokens: number;
  /** As estimated, until the server says it. */
  readonly promptTokens: number;
  readonly promptIds: readonly number[] | undefined;
  /** The server has said the token ids of the request's prompt. */
  readonly promptKnown: (ids: readonly number[]) => void;
  readonly say: (event: Partial<EngineEvent>) => void;
  /** The last word; `error` is told already. */
  readonly over: (error: Refusal | undefined) => void;
}

/** Tokens that wait for the rest of a character, at most. */
const maxUntold = 256;
const endOfStream = '[DONE]';
const givenUp: ReadonlySet<string> = new Set(['abort', 'error']);

export class Answer {
  promptTokens: number;
  cachedTokens = 0;
  /** Of the whole request; pieces where tokens are not known. */
  outputTokens: number;
  /** Something has been computed beyond the prompt. */
  began = false;
  readonly #options: AnswerOptions;
  #exact: boolean;
  #carry: Carry | undefined;
  #promptCrc = 0;
  #promptIsExact = false;
  #untold: Untold = nothingUntold();
  #finishReason = '';
  #choicesLeft: number;
  #usage: Usage | undefined;
  #usageShown = false;

  constructor(options: AnswerOptions) {
    this.#options = options;
    this.#exact = options.withIds;
    this.#carry = options.carry;
    this.#choicesLeft = options.choices;
    this.promptTokens = options.promptTokens;
    this.outputTokens = options.startTokens;
    if (options.promptIds) this.#knowPrompt(options.promptIds);
  }

  /** What whoever continues must know; undefined before the first token. */
  get carry(): Carry | undefined {
    return this.#carry;
  }

  /** One event of the stream. */
  event(event: SseEvent): void {
    const { url } = this.#options;
    // A comment is a sign of life.
    if (event.dataEnd === event.dataStart) {
      if (this.#untold.data.length === 0) this.#options.say({});
      return;
    }
    const text = event.bytes.toString('utf8', event.dataStart, event.dataEnd);
    if (text.trim() === endOfStream) {
      this.ended('the stream ends without a finish_reason');
      return;
    }
    const said = readSaid(text);
    if (!said) this.fail(refusal('engine_error', `${url} sends a chunk that is no JSON object`));
    else if (said.error !== undefined) this.fail(refusalOfError(url, said.error));
    else if (said.choices.some(({ finishReason }) => givenUp.has(finishReason))) this.fail(this.#gaveUp(said));
    else this.#chunk(event, said);
  }

  /** Nothing more will come. It is whole if the server has said so: then its usage may be missing, at most. */
  ended(why: string): void {
    if (this.#finishReason !== '' && this.#choicesLeft <= 0) this.#finish();
    else this.fail(refusal('engine_unavailable', `${this.#options.url}: ${why}`));
  }

  /** An answer in one piece. */
  whole(body: Buffer): void {
    const { url } = this.#options;
    const said = readSaid(body.toString());
    const [choice] = said?.choices ?? [];
    if (!said) this.fail(refusal('engine_error', `${url} answers with what is no JSON object`));
    else if (said.error !== undefined) this.fail(refusalOfError(url, said.error));
    else if (said.choices.some(({ finishReason }) => givenUp.has(finishReason))) this.fail(this.#gaveUp(said));
    else if (!choice || said.choices.some(({ finishReason }) => finishReason === ''))
      this.fail(refusal('engine_unavailable', `${url} answers without a finish_reason`));
    else {
      this.#learn(said);
      const ids = this.#exact && said.choices.length === 1 ? choice.tokenIds : undefined;
      this.#untold = { ids: [...(ids ?? [])], pieces: ids ? 0 : 1, text: choice.text, data: [] };
      this.#finishReason = choice.finishReason;
      this.#finish(edited(body, this.#options.edits));
    }
  }

  fail(error: Refusal): void {
    this.#options.say({ error });
    this.#options.over(error);
  }

  #gaveUp({ choices }: Said): Refusal {
    const how = choices.find(({ finishReason }) => givenUp.has(finishReason))!.finishReason;
    return refusal('engine_unavailable', `${this.#options.url} has given up the request (finish_reason ${how})`);
  }

  #chunk(event: SseEvent, said: Said): void {
    this.#learn(said);
    const [choice, ...others] = said.choices;
    this.#choicesLeft -= others.filter(({ finishReason }) => finishReason !== '').length;
    if (choice) this.#take(event, said, choice);
    else this.#aside(event, said);
  }

  /** A chunk without choices: usage, or what some servers say before they begin. */
  #aside(event: SseEvent, said: Said): void {
    const { asChat, tellsUsage, startTokens, edits } = this.#options;
    if (said.usage && !tellsUsage) return;
    if (asChat) {
      if (said.usage) this.#showUsage();
      return;
    }
    const isRest = said.usage !== undefined && startTokens > 0;
    this.#untold.data.push(editedEvent(event, isRest ? { ...edits, ...usageEdits(this.#usage!) } : edits));
  }

  #take(event: SseEvent, said: Said, choice: ChoiceSaid): void {
    const ids = this.#exact ? choice.tokenIds : undefined;
    const hasIds = ids !== undefined && ids.length > 0;
    if (!choice.silent || hasIds) this.began = true;
    // Tokens cannot be told apart any more: from here on the log is one of text.
    if (!ids && !choice.silent) this.#exact = false;
    const untold = this.#untold;
    if (hasIds) untold.ids.push(...ids);
    else if (!choice.silent) untold.pieces++;
    untold.text += choice.text;
    // A second role in the middle of an answer would begin another one.
    const isSecondRole = this.#options.startTokens > 0 && choice.silent && choice.finishReason === '' && !hasIds;
    if (!isSecondRole) untold.data.push(this.#shown(event, choice, said.usage !== undefined));
    if (choice.finishReason !== '') {
      this.#finishReason = choice.finishReason;
      this.#choicesLeft--;
    } else if (!choice.silent || untold.ids.length >= maxUntold) this.#tell(said, choice);
  }

  #shown(event: SseEvent, choice: ChoiceSaid, withUsage: boolean): Uint8Array {
    const { asChat, tellsIds, edits, startTokens } = this.#options;
    if (asChat) return chatChunk(this.#carry!, choice, tellsIds);
    return editedEvent(event, withUsage && startTokens > 0 && !('usage' in edits) ? { ...edits, ...usageEdits(this.#usage!) } : edits);
  }

  #tell(said: Said, choice: ChoiceSaid): void {
    const carry = this.#newCarry(said, choice);
    this.#sayUntold(carry ? { carry } : {});
  }

  #showUsage(): void {
    this.#usageShown = true;
    this.#untold.data.push(chatUsageChunk(this.#carry!, this.#usage!));
  }

  #finish(finalBody?: Uint8Array): void {
    // llama-server tells the usage of a completion with its last choice, and a chat has a chunk of its own for it.
    if (this.#options.asChat && this.#options.tellsUsage && this.#usage && !this.#usageShown) this.#showUsage();
    const { ids, pieces } = this.#untold;
    const counted = { promptTokens: this.promptTokens, outputTokens: this.outputTokens + ids.length + pieces, cachedTokens: this.cachedTokens };
    this.#sayUntold({ finishReason: this.#finishReason, usage: this.#usage ?? counted, ...(finalBody ? { finalBody } : {}) });
    this.#options.over(undefined);
  }

  #sayUntold(more: Partial<EngineEvent>): void {
    const { ids, pieces, text, data } = this.#untold;
    this.#untold = nothingUntold();
    // Tokens and pieces cannot be in one event: they are counted differently.
    const counted = pieces > 0 ? { pieces: { count: ids.length + pieces } } : { tokenIds: ids };
    const bytes = data.length === 0 ? {} : { data: data.length === 1 ? data[0]! : Buffer.concat(data) };
    this.#options.say({ ...counted, text, ...bytes, ...more });
    this.outputTokens += ids.length + pieces;
  }

  /** Told with the first token, and when the answer enters or leaves its reasoning or a tool call. */
  #newCarry(said: Said, { phase, silent }: ChoiceSaid): Carry | undefined {
    if (this.#carry && (this.#carry.phase === phase || silent)) return undefined;
    const prompt = { promptTokens: this.#promptIsExact ? this.promptTokens : 0, promptCrc: this.#promptCrc };
    this.#carry = this.#carry ? { ...this.#carry, phase } : carryOf(said, { model: this.#options.model, ...prompt, phase });
    return this.#carry;
  }

  #learn({ usage, promptIds }: Said): void {
    const { startTokens } = this.#options;
    // To the server the tokens of the other instance are part of the prompt.
    if (promptIds && startTokens === 0) this.#knowPrompt(promptIds);
    if (!usage) return;
    this.cachedTokens = usage.cachedTokens;
    if (startTokens === 0) this.promptTokens = usage.promptTokens;
    else if (!this.#promptIsExact) this.promptTokens = Math.max(1, usage.promptTokens - startTokens);
    this.#usage = { ...usage, promptTokens: this.promptTokens, outputTokens: startTokens + usage.outputTokens };
  }

  #knowPrompt(ids: readonly number[]): void {
    this.promptTokens = ids.length;
    this.#promptCrc = crcOf(ids);
    this.#promptIsExact = true;
    this.#options.promptKnown(ids);
  }
}

interface Untold {
  readonly ids: number[];
  pieces: number;
  text: string;
  readonly data: Uint8Array[];
}

function nothingUntold(): Untold {
  return { ids: [], pieces: 0, text: '', data: [] };
}
