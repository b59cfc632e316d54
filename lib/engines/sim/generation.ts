// One request on the simulated engine: the scheduler's sequence, and what its client wants to read of it.
import { crc32 } from 'node:zlib';
import { type Endpoint, limitsOf, type ParsedPrompt, parsePrompt } from '../../../core/engine/prompt.ts';
import { outputLength, type Sequence, type SequenceSpec } from '../../../core/engine/sequence.ts';
import { showable } from '../../../core/engine/stop-strings.ts';
import { textOf, tokenTexts } from '../../../core/engine/vocabulary.ts';
import { refusal } from '../../../core/errors/switchyard-error.ts';
import { type Refusal, SequenceState, type Usage } from '../../../proto/gen/messages.ts';
import type { EngineEvent, GenerateRequest } from '../../ports/engines.ts';
import { keyOf } from '../find-sequence.ts';
import { type AnswerText, answerText } from '../openai-text.ts';
import { requestFacts } from '../request-facts.ts';

const noBytes = new Uint8Array(0);
/** JSON of every word's text, made once. */
const tokenJson: readonly string[] = tokenTexts.map((text) => JSON.stringify(text));

export type SequenceFacts = Omit<SequenceState, 'outputTokenIds' | 'outputText' | 'cachedTokens' | 'promptTokens' | 'engineState'>;

export interface Generation {
  readonly key: string;
  readonly epoch: number;
  readonly facts: SequenceFacts;
  readonly stop: readonly string[];
  readonly answer: AnswerText;
  readonly sequence: Sequence;
  /** Output text so far; the first `shown` characters have been told. */
  text: string;
  shown: number;
  /** Tokens below this index are not told: the gateway has them. */
  readonly fromIndex: number;
  /** When the last token was produced, 0 before. */
  lastTokenAtMs: number;
  /** Ends the wait for the end of a pause's lease. */
  cancelLease: () => void;
  /** Called at the end of the step that the sequence is in. */
  readonly atBoundary: (() => void)[];
  /** What was confirmed to which reservation; a preemption makes it worthless. */
  copy: { readonly reservationId: string; readonly preemptions: number; readonly sent: Map<number, number> } | undefined;
}

export function readBody(endpoint: string, body: Uint8Array): ParsedPrompt | Refusal {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.length).toString('utf8'));
  } catch {
    return refusal('invalid_json', 'the body is not JSON');
  }
  return parsePrompt(endpoint === 'completions' ? 'completions' : 'chat', parsed);
}

/** What a new or continued stream asks of the engine. */
export function specOf(
  model: string,
  request: GenerateRequest,
  prompt: ParsedPrompt,
  contextTokens: number,
): { spec: SequenceSpec; facts: SequenceFacts } {
  const limits = limitsOf(model, prompt, contextTokens);
  const bounded = request.maxOutputTokens > 0 && request.maxOutputTokens < limits.maxOutputTokens;
  const endReason = bounded ? 'length' : limits.endReason;
  const maxOutputTokens = bounded ? request.maxOutputTokens : limits.maxOutputTokens;
  return {
    spec: {
      key: keyOf(request.requestId, request.epoch),
      promptIds: prompt.tokenIds,
      outputIds: request.resumeTokenIds,
      maxOutputTokens,
      endReason,
      priority: request.priority,
      arrivalMs: request.arrivalMs,
      continues: request.resumeTokenIds.length > 0,
    },
    facts: { ...requestFacts(model, request), promptTokenIds: prompt.tokenIds, maxOutputTokens, endReason },
  };
}

export function generationOf(
  sequence: Sequence,
  epoch: number,
  facts: SequenceFacts,
  stop: readonly string[],
  told: { readonly text: string; readonly shown: number; readonly fromIndex: number },
): Generation {
  const answer = answerText({ ...facts, endpoint: facts.endpoint as Endpoint, fingerprint: fingerprintOf(facts.body) });
  return {
    key: sequence.key,
    epoch,
    facts,
    stop,
    answer,
    sequence,
    ...told,
    lastTokenAtMs: 0,
    cancelLease: () => {},
    atBoundary: [],
    copy: undefined,
  };
}

/** `sim-` and the CRC-32 of the body's bytes in hex: shows whether the client's bytes reached the engine untouched. */
export function fingerprintOf(body: Uint8Array): string {
  return `sim-${crc32(body).toString(16).padStart(8, '0')}`;
}

export function usageOf(generation: Generation): Usage {
  const { sequence } = generation;
  return { promptTokens: sequence.promptLength, outputTokens: outputLength(sequence), cachedTokens: sequence.cachedTokens };
}

export function encodeState(generation: Generation): Uint8Array {
  const { sequence } = generation;
  return SequenceState.encode({
    ...generation.facts,
    outputTokenIds: sequence.tokens.slice(sequence.promptLength),
    outputText: generation.text,
    cachedTokens: sequence.cachedTokens,
    promptTokens: sequence.promptLength,
    engineState: noBytes,
  });
}

/**
 * The event of one new token; `finishReason` is what the scheduler says. A stop string ends the answer before itself, and
 * what may become one is held back.
 */
export function speak(generation: Generation, tokenId: number, index: number, finishReason: '' | 'stop' | 'length'): EngineEvent {
  const { answer, facts, stop } = generation;
  const token = tokenTexts[tokenId] ?? '';
  const known = generation.text.length;
  generation.text += token;
  let length = generation.text.length;
  if (stop.length > 0) {
    const { length: free, stopped } = showable(generation.text, stop, known);
    if (stopped) {
      generation.text = generation.text.slice(0, free);
      finishReason = 'stop';
    }
    if (finishReason === '' || stopped) length = free;
  }
  const piece = generation.shown === known && length === known + token.length ? token : generation.text.slice(generation.shown, length);
  generation.shown = length;
  let data = '';
  if (facts.clientStreams) {
    data = index === 0 ? answer.roleChunk : '';
    if (piece !== '') data += answer.chunk(piece === token ? tokenJson[tokenId]! : JSON.stringify(piece));
  }
  return event(generation, index, [tokenId], piece, data, finishReason);
}

/** The tokens from `fromIndex` on that the sequence has already, in one event; or only its end. */
export function speakAgain(generation: Generation, fromIndex: number, finishReason: '' | 'stop' | 'length'): EngineEvent {
  const { answer, facts, sequence, stop } = generation;
  const output = sequence.tokens.slice(sequence.promptLength);
  const tokenIds = output.slice(fromIndex);
  if (finishReason !== '') generation.shown = generation.text.length;
  const shownBefore = showable(textOf(output.slice(0, fromIndex)), stop).length;
  const piece = generation.text.slice(shownBefore, generation.shown);
  let data = '';
  if (facts.clientStreams) {
    if (fromIndex === 0 && tokenIds.length > 0) data = answer.roleChunk;
    if (stop.length === 0) for (const id of tokenIds) data += answer.chunk(tokenJson[id]!);
    else if (piece !== '') data += answer.chunk(JSON.stringify(piece));
  }
  return event(generation, fromIndex, tokenIds, piece, data, finishReason);
}

function event(generation: Generation, index: number, tokenIds: readonly number[], text: string, data: string, finishReason: string): EngineEvent {
  const { answer, facts } = generation;
  const base = { requestId: facts.requestId, epoch: generation.epoch, index, tokenIds, text, finishReason };
  if (finishReason === '') return { ...base, data: data === '' ? noBytes : Buffer.from(data), finalBody: noBytes };
  const usage = usageOf(generation);
  return {
    ...base,
    data: facts.clientStreams ? Buffer.from(data + answer.finalChunks(finishReason, usage)) : noBytes,
    usage,
    finalBody: facts.clientStreams ? noBytes : Buffer.from(answer.finalBody(generation.text, finishReason, usage)),
  };
}
