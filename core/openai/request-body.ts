// Reads what Switchyard must know of a client's body, and nothing else. The body's bytes go on to the engine as they came;
// no field is checked that only the engine understands.
import type { Code } from '../errors/codes.ts';
import { isTooComplex, maxDepth, maxMembers } from './body-shape.ts';
import { condensedJson, fullLength } from './condensed-json.ts';
import { type ContinuationNeed, continuationNeeds } from './continuation.ts';

export type Endpoint = 'chat' | 'completions';

export interface RequestBody {
  readonly model: string;
  readonly streams: boolean;
  readonly includeUsage: boolean;
  /** Undefined: the client sets no limit. */
  readonly maxTokens: number | undefined;
  /** The field that sets it: there are an older and a newer one. */
  readonly maxTokensParam: 'max_tokens' | 'max_completion_tokens';
  /** Empty: not set. */
  readonly serviceTier: string;
  /** Estimate, about four bytes a token. */
  readonly promptTokens: number;
  /** Beginning of the prompt, for prefix hashes. */
  readonly leadingText: string;
  /** The client's own word for requests that share a prefix. Empty: not set. */
  readonly cacheKey: string;
  readonly continuationNeeds: readonly ContinuationNeed[];
  /** Present fields out of those that clients may not set. */
  readonly forbiddenFields: readonly string[];
}

export interface InvalidBody {
  readonly code: Code;
  readonly message: string;
  readonly param: string | null;
}

const bytesPerToken = 4;
const leadingCharacters = 8193;

type Fields = Readonly<Record<string, unknown>>;

export function readRequestBody(endpoint: Endpoint, bytes: Uint8Array, forbidden: readonly string[]): RequestBody | InvalidBody {
  if (isTooComplex(bytes)) return invalid(`a large body may have ${maxMembers} members and be ${maxDepth} levels deep`, null);
  const fields = parse(bytes);
  if (!fields) return invalid('the body is not a JSON object in UTF-8', null, 'invalid_json');
  if (typeof fields.model !== 'string' || fields.model === '') return invalid('"model" must name a model', 'model');
  if (!nullish(fields.stream) && typeof fields.stream !== 'boolean') return invalid('"stream" must be true or false', 'stream');
  const limit = maxTokens(fields);
  if (limit && 'message' in limit) return limit;
  const prompt = endpoint === 'chat' ? chatPrompt(fields.messages) : completionPrompt(fields.prompt);
  if ('message' in prompt) return prompt;
  const options = asFields(fields.stream_options);
  return {
    model: fields.model,
    streams: fields.stream === true,
    includeUsage: options?.include_usage === true,
    maxTokens: limit?.tokens,
    maxTokensParam: limit?.param ?? 'max_tokens',
    serviceTier: text(fields.service_tier),
    promptTokens: prompt.tokens,
    leadingText: prompt.leadingText,
    cacheKey: text(fields.prompt_cache_key),
    continuationNeeds: continuationNeeds(fields),
    // Repeated members hide each other here, but not from everyone: the first step of the path is enough to look.
    forbiddenFields: forbidden.filter((name) => Object.hasOwn(fields, name.split('.', 1)[0]!)),
  };
}

export function isInvalid(body: RequestBody | InvalidBody): body is InvalidBody {
  return 'message' in body;
}

function parse(bytes: Uint8Array): Fields | undefined {
  const condensed = condensedJson(bytes);
  if (condensed === undefined) return undefined;
  try {
    return asFields(JSON.parse(condensed));
  } catch {
    return undefined;
  }
}

function maxTokens(fields: Fields): { tokens: number; param: RequestBody['maxTokensParam'] } | InvalidBody | undefined {
  const param = nullish(fields.max_completion_tokens) ? 'max_tokens' : 'max_completion_tokens';
  const value = fields[param];
  if (nullish(value)) return undefined;
  const fine = typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 0xffff_ffff;
  return fine ? { tokens: value, param } : invalid(`"${param}" must be a positive integer`, param);
}

interface Prompt {
  readonly tokens: number;
  readonly leadingText: string;
}

function chatPrompt(messages: unknown): Prompt | InvalidBody {
  if (!Array.isArray(messages) || messages.length === 0) return invalid('"messages" must have at least one message', 'messages');
  let leadingText = '';
  let length = 0;
  for (const message of messages) {
    const fields = asFields(message);
    if (!fields || typeof fields.role !== 'string') return invalid('every message must be an object with a "role"', 'messages');
    const parts = typeof fields.content === 'string' ? [fields.content] : contentTexts(fields.content);
    length += fields.role.length + bytesPerToken;
    if (leadingText.length < leadingCharacters) leadingText += `${fields.role}\n`;
    for (const part of parts) {
      length += fullLength(part);
      if (leadingText.length < leadingCharacters) leadingText += part.slice(0, leadingCharacters);
    }
  }
  return { tokens: Math.ceil(length / bytesPerToken), leadingText };
}

function completionPrompt(prompt: unknown): Prompt | InvalidBody {
  const only = Array.isArray(prompt) && prompt.length === 1 && typeof prompt[0] !== 'number' ? prompt[0] : prompt;
  if (typeof only === 'string')
    return { tokens: Math.max(1, Math.ceil(fullLength(only) / bytesPerToken)), leadingText: only.slice(0, leadingCharacters) };
  if (Array.isArray(only) && only.length > 0 && typeof only[0] === 'number') {
    return { tokens: only.length, leadingText: only.slice(0, leadingCharacters / bytesPerToken).join(' ') };
  }
  if (Array.isArray(only)) return invalid('one prompt per request: send several requests instead of a list of prompts', 'prompt');
  return invalid('"prompt" must be a text or a list of token ids', 'prompt');
}

function contentTexts(content: unknown): string[] {
  if (!Array.isArray(content)) return [];
  return content.map((part) => text(asFields(part)?.text));
}

function asFields(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function nullish(value: unknown): value is null | undefined {
  return value === undefined || value === null;
}

function invalid(message: string, param: string | null, code: Code = 'invalid_request'): InvalidBody {
  return { code, message, param };
}
