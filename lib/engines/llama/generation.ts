// One request on the llama engine: its tokens, what its client has read of them, and the events that tell it.
import { showable } from '../../../core/engine/stop-strings.ts';
import { type Refusal, SequenceState, type SequenceStatus, type Usage } from '../../../proto/gen/messages.ts';
import type { EngineEvent, GenerateRequest } from '../../ports/engines.ts';
import { keyOf } from '../find-sequence.ts';
import { type AnswerText, answerText } from '../openai-text.ts';
import { requestFacts } from '../request-facts.ts';
import type { Vocabulary } from './child/messages.ts';
import type { LlamaRequest } from './request.ts';
import { TokenText, textOf } from './token-text.ts';
import { readAnswer } from './tool-calls.ts';

/** Blocks are a measure here: the engine's own cache has none. */
export const blockTokens = 16;
const noBytes = new Uint8Array(0);

export type SequenceFacts = Omit<SequenceState, 'promptTokenIds' | 'outputTokenIds' | 'outputText' | 'cachedTokens' | 'promptTokens' | 'engineState'>;

/** What a copy of the sequence has come to. */
export interface SequenceCopy {
  readonly reservationId: string;
  /** The newest saved state; undefined until the first is. */
  saved: { readonly bytes: Uint8Array; readonly tokens: number } | undefined;
  /** Tokens that the target has confirmed; 0: none. */
  confirmedTokens: number;
}

export interface Generation {
  readonly key: string;
  /** The engine's name for it. */
  readonly id: number;
  readonly epoch: number;
  readonly facts: SequenceFacts;
  readonly request: LlamaRequest;
  readonly answer: AnswerText;
  readonly vocabulary: Vocabulary;
  readonly decoder: TokenText;
  /** `preparing`: its prompt is being tokenised. */
  phase: 'preparing' | 'waiting' | 'running';
  promptIds: readonly number[];
  readonly outputIds: number[];
  /** Of the whole answer. */
  maxOutputTokens: number;
  /** Output text so far, whole characters; the first `shown` have been told. */
  text: string;
  shown: number;
  /** Tokens below this index are not told: the gateway has them. */
  readonly fromIndex: number;
  slot: number | undefined;
  /** What has followed another engine in its slot; undefined: nothing has, or it has ended. */
  goesOnFrom: number | undefined;
  /** Its next token, where that is known before it is launched. */
  foreseen: number | undefined;
  cachedTokens: number;
  held: boolean;
  paused: boolean;
  lastTokenAtMs: number;
  /** Ends the wait for the end of a pause's lease. */
  cancelLease: () => void;
  copy: SequenceCopy | undefined;
  /** Hears of every token, for a target that follows. */
  tail: ((firstIndex: number, tokenIds: readonly number[]) => void) | undefined;
}

export function factsOf(model: string, request: GenerateRequest): SequenceFacts {
  return { ...requestFacts(model, request), maxOutputTokens: request.maxOutputTokens, endReason: 'length' };
}

export interface NewGeneration {
  readonly id: number;
  readonly epoch: number;
  readonly facts: SequenceFacts;
  readonly request: LlamaRequest;
  readonly fingerprint: string;
  readonly vocabulary: Vocabulary;
  readonly outputIds: readonly number[];
  /** Characters of the output so far that the client has; undefined: as many as could be shown. */
  readonly shown: number | undefined;
  readonly fromIndex: number;
  readonly held: boolean;
}

export function generationOf({ id, epoch, facts, request, fingerprint, vocabulary, outputIds, shown, fromIndex, held }: NewGeneration): Generation {
  const decoder = new TokenText(vocabulary);
  const text = decoder.next(outputIds);
  return {
    ...{ key: keyOf(facts.requestId, epoch), id, epoch, facts, request, vocabulary, decoder, fromIndex, held },
    answer: answerText({ ...facts, endpoint: facts.endpoint === 'completions' ? 'completions' : 'chat', fingerprint }),
    phase: 'preparing',
    promptIds: [],
    outputIds: [...outputIds],
    maxOutputTokens: 0,
    text,
    shown: Math.min(shown ?? Number.POSITIVE_INFINITY, showable(text, request.stop).length),
    slot: undefined,
    goesOnFrom: undefined,
    foreseen: undefined,
    cachedTokens: 0,
    paused: false,
    lastTokenAtMs: 0,
    cancelLease: () => {},
    copy: undefined,
    tail: undefined,
  };
}

/** Prompt, then output. */
export function historyOf({ promptIds, outputIds }: Generation): number[] {
  return [...promptIds, ...outputIds];
}

export function usageOf({ promptIds, outputIds, cachedTokens }: Generation): Usage {
  return { promptTokens: promptIds.length, outputTokens: outputIds.length, cachedTokens };
}

/** What the sequence is besides its KV. */
export function encodeState(generation: Generation, engineState: Uint8Array): Uint8Array {
  const { facts, promptIds, outputIds, text, cachedTokens, maxOutputTokens } = generation;
  return SequenceState.encode({
    ...facts,
    maxOutputTokens,
    promptTokenIds: promptIds,
    outputTokenIds: outputIds,
    outputText: text,
    cachedTokens,
    promptTokens: promptIds.length,
    engineState,
  });
}

export function statusOf(generation: Generation): SequenceStatus {
  const { facts, promptIds, outputIds, phase, paused, epoch } = generation;
  const tokens = promptIds.length + outputIds.length;
  const state = paused ? 'paused' : phase !== 'running' ? 'waiting' : outputIds.length <= generation.fromIndex ? 'prefill' : 'decode';
  return {
    requestId: facts.requestId,
    state,
    promptTokens: promptIds.length,
    outputTokens: outputIds.length,
    maxOutputTokens: generation.maxOutputTokens,
    blocks: phase === 'running' ? Math.ceil(tokens / blockTokens) : 0,
    priority: facts.priority,
    epoch,
    gatewayId: facts.gatewayId,
    arrivalMs: facts.arrivalMs,
    traceparent: facts.traceparent,
  };
}

/** Takes a new token and gives its event. A stop string ends the answer before itself; what may become one is held back. */
export function speak(generation: Generation, tokenId: number): EngineEvent {
  const { request, outputIds } = generation;
  const index = outputIds.length;
  outputIds.push(tokenId);
  const known = generation.text.length;
  generation.text += generation.decoder.next([tokenId]);
  let finishReason = outputIds.length >= generation.maxOutputTokens ? 'length' : '';
  const { length: free, stopped } = showable(generation.text, request.stop, known);
  if (stopped) {
    generation.text = generation.text.slice(0, free);
    finishReason = 'stop';
  }
  const piece = show(generation, finishReason === '' ? free : generation.text.length);
  return event(generation, index, [tokenId], piece, finishReason);
}

/** The answer is over, and its last token said so: that one counts for nothing. */
export function speakEnd(generation: Generation): EngineEvent {
  const { outputIds } = generation;
  const piece = show(generation, generation.text.length);
  return event(generation, outputIds.length, [], piece, 'stop');
}

/** The tokens from `fromIndex` on that the sequence has already, in one event; or only its end. */
export function speakAgain(generation: Generation, fromIndex: number, finishReason: '' | 'stop' | 'length'): EngineEvent {
  const { request, outputIds, vocabulary } = generation;
  if (finishReason !== '') generation.shown = generation.text.length;
  const tokenIds = outputIds.slice(fromIndex);
  const shownBefore = showable(textOf(vocabulary, outputIds.slice(0, fromIndex)), request.stop).length;
  const piece = generation.text.slice(Math.min(shownBefore, generation.shown), generation.shown);
  return event(generation, fromIndex, tokenIds, piece, finishReason);
}

function show(generation: Generation, length: number): string {
  const piece = generation.text.slice(generation.shown, length);
  generation.shown = Math.max(generation.shown, length);
  return piece;
}

/** The event of tokens whose text is `piece`, the last that was shown. */
function event(generation: Generation, index: number, tokenIds: readonly number[], piece: string, finishReason: string): EngineEvent {
  const { answer, facts, request, text, shown } = generation;
  const base = { requestId: facts.requestId, epoch: generation.epoch, index, tokenIds, text: piece };
  const ended = finishReason !== '';
  let data = '';
  if (facts.clientStreams) {
    const isFirst = index === 0 && (tokenIds.length > 0 || ended);
    data = (isFirst ? answer.roleChunk : '') + dataOf(generation, piece, ended);
  }
  if (!ended) return { ...base, finishReason, data: data === '' ? noBytes : Buffer.from(data), finalBody: noBytes };
  const usage = usageOf(generation);
  const { content, calls } = readAnswer(request.tools, text.slice(0, shown), true);
  const why = finishReason === 'stop' && calls.length > 0 ? 'tool_calls' : finishReason;
  const toolCalls = calls.map(({ name, argumentsText }, place) => ({
    id: callId(generation, place),
    type: 'function' as const,
    function: { name, arguments: argumentsText },
  }));
  return {
    ...base,
    finishReason: why,
    data: facts.clientStreams ? Buffer.from(data + answer.finalChunks(why, usage)) : noBytes,
    usage,
    finalBody: facts.clientStreams ? noBytes : Buffer.from(answer.finalBody(content, why, usage, toolCalls)),
  };
}

/** The chunks of a piece of text, which may be part of the call of a tool. */
function dataOf(generation: Generation, piece: string, ended: boolean): string {
  const { answer, request, text, shown } = generation;
  if (request.tools === 'none') return piece === '' ? '' : answer.chunk(JSON.stringify(piece));
  const before = readAnswer(request.tools, text.slice(0, shown - piece.length), false);
  const after = readAnswer(request.tools, text.slice(0, shown), ended);
  const content = after.content.slice(before.content.length);
  let data = content === '' ? '' : answer.chunk(JSON.stringify(content));
  for (const [index, call] of after.calls.entries()) {
    const known = before.calls[index];
    const more = call.argumentsText.slice(known?.argumentsText.length ?? 0);
    if (known && more === '') continue;
    const opening = known ? {} : { id: callId(generation, index), type: 'function' };
    const told = { index, ...opening, function: { ...(known ? {} : { name: call.name }), arguments: more } };
    data += answer.deltaChunk(JSON.stringify({ tool_calls: [told] }));
  }
  return data;
}

/** The same wherever the answer goes on. */
function callId({ facts }: Generation, index: number): string {
  return `call_${facts.requestId}_${index}`;
}

/** The end of a sequence that is none of its own. */
export function errorEvent({ facts, epoch, outputIds }: Generation, error: Refusal): EngineEvent {
  const base = { requestId: facts.requestId, epoch, index: outputIds.length, tokenIds: [], text: '', data: noBytes };
  return { ...base, finishReason: '', finalBody: noBytes, error };
}
