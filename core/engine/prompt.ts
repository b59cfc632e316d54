// From an OpenAI request body to what the simulated engine needs: prompt, limits, stop strings. The body's other fields are the
// client's business and are not looked at.

import type { Refusal } from '../../proto/gen/messages.ts';
import { refusal } from '../errors/switchyard-error.ts';
import { naturalLength, tokenize } from './token-function.ts';

export type Endpoint = 'chat' | 'completions';

export interface GenerationLimits {
  /** Output tokens, at most. */
  readonly maxOutputTokens: number;
  /** What the answer says when it reaches them: its own end, or the limit. */
  readonly endReason: 'stop' | 'length';
}

export interface ParsedPrompt {
  readonly tokenIds: readonly number[];
  /** Set by the client, if at all. */
  readonly maxTokens: number | undefined;
  readonly stop: readonly string[];
}

/** Most output tokens of a request that sets no limit. */
export const defaultMaxTokens = 256;

const maxStops = 16;

/** The text that is tokenised, for verifiers: pass it to `expectedTokens`. Undefined when the body has no usable prompt. */
export function promptTextOf(endpoint: Endpoint, body: unknown): string | undefined {
  const fields = asRecord(body);
  if (!fields) return undefined;
  if (endpoint === 'completions') {
    const prompt = Array.isArray(fields.prompt) && fields.prompt.length === 1 ? fields.prompt[0] : fields.prompt;
    return typeof prompt === 'string' ? prompt : undefined;
  }
  if (!Array.isArray(fields.messages) || fields.messages.length === 0) return undefined;
  let text = '';
  for (const message of fields.messages) {
    const { role, content } = asRecord(message) ?? {};
    if (typeof role !== 'string') return undefined;
    text += `<|${role}|>${contentText(content)}\n`;
  }
  return `${text}<|assistant|>`;
}

/** Reads prompt, limit and stop strings. Refuses with `invalid_request` what this engine cannot honour. */
export function parsePrompt(endpoint: Endpoint, body: unknown): ParsedPrompt | Refusal {
  const fields = asRecord(body);
  if (!fields) return refusal('invalid_request', 'the body must be a JSON object');
  if (typeof fields.n === 'number' && fields.n > 1) return refusal('invalid_request', 'this engine gives one choice per request: leave out n');
  const maxTokens = fields.max_completion_tokens ?? fields.max_tokens ?? undefined;
  if (maxTokens !== undefined && !(Number.isInteger(maxTokens) && (maxTokens as number) > 0)) {
    return refusal('invalid_request', 'max_tokens must be a positive integer');
  }
  const stop: readonly unknown[] = Array.isArray(fields.stop) ? fields.stop : [fields.stop ?? ''];
  if (stop.length > maxStops || !stop.every((entry) => typeof entry === 'string')) {
    return refusal('invalid_request', `stop must be a text or a list of at most ${maxStops} texts`);
  }
  const tokenIds = promptIds(endpoint, fields);
  if (!tokenIds || tokenIds.length === 0) {
    return refusal('invalid_request', endpoint === 'chat' ? 'messages must hold at least one message' : 'prompt must be a text or token ids');
  }
  return {
    tokenIds,
    maxTokens: maxTokens as number | undefined,
    stop: stop.filter((entry) => entry !== ''),
  };
}

/** How far the answer may go: the client's limit, or the model's own end; never beyond the context. */
export function limitsOf(model: string, prompt: ParsedPrompt, contextTokens: number): GenerationLimits {
  const room = contextTokens - prompt.tokenIds.length;
  const wanted = prompt.maxTokens ?? Math.min(naturalLength(model, prompt.tokenIds), defaultMaxTokens);
  return { maxOutputTokens: Math.min(wanted, room), endReason: prompt.maxTokens === undefined && wanted <= room ? 'stop' : 'length' };
}

function promptIds(endpoint: Endpoint, fields: Record<string, unknown>): readonly number[] | undefined {
  const { prompt } = fields;
  if (endpoint === 'completions' && Array.isArray(prompt) && prompt.length > 0 && prompt.every((id) => Number.isInteger(id) && id >= 0)) {
    return prompt as number[];
  }
  const text = promptTextOf(endpoint, fields);
  return text === undefined ? undefined : tokenize(text);
}

function contentText(content: unknown): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content
    .map((part) => asRecord(part)?.text)
    .filter((text) => typeof text === 'string')
    .join('');
}

function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
}
