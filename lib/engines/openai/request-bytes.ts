// What goes to the server: the client's own bytes with the smallest changes, or, for a request that another instance has begun,
// what makes the server go on where that stopped.
import { type Edit, type Edits, edited } from '../../../core/openai/edit-json.ts';
import type { GenerateRequest } from '../../ports/engines.ts';
import { asFields } from './chunk.ts';
import type { Fields } from './client.ts';
import type { ServerFacts } from './facts.ts';

export const paths = { chat: '/v1/chat/completions', completions: '/v1/completions' } as const;

/** Fields that only chats have, and what is to be said once, at the beginning. */
const notContinued = [
  ...['messages', 'tools', 'tool_choice', 'parallel_tool_calls', 'functions', 'function_call', 'documents', 'modalities', 'audio'],
  ...['chat_template', 'chat_template_kwargs', 'add_generation_prompt', 'continue_final_message', 'reasoning_effort', 'include_reasoning'],
  ...['logprobs', 'top_logprobs', 'echo', 'suffix', 'truncate_prompt_tokens', 'add_special_tokens', 'max_completion_tokens'],
  ...['return_prompt_text', 'response_format', 'store', 'metadata'],
];

/** Output tokens of the whole request; undefined: nobody limits them. */
export function outputLimit(fields: Fields, request: GenerateRequest): number | undefined {
  const asked = [fields.max_completion_tokens, fields.max_tokens].find((value) => typeof value === 'number');
  const limits = [asked as number | undefined, request.maxOutputTokens || undefined].filter((value) => value !== undefined);
  return limits.length > 0 ? Math.min(...limits) : undefined;
}

/** Whether several answers come at once: their tokens are not one log. */
export function hasChoices(fields: Fields): boolean {
  return [fields.n, fields.best_of].some((value) => typeof value === 'number' && value > 1);
}

/** Nothing but the gateway limits the output, which the server is told. */
export function addsLimit(fields: Fields, request: GenerateRequest): boolean {
  return typeof fields.max_completion_tokens !== 'number' && typeof fields.max_tokens !== 'number' && request.maxOutputTokens > 0;
}

/** A request from its beginning. Without our limit the context is one. */
export function wholeRequest(request: GenerateRequest, fields: Fields, facts: ServerFacts, withLimit: boolean): Uint8Array {
  return edited(request.body, { ...common(request, fields, facts, asksForIds(request, facts)), ...(withLimit ? limitEdit(fields, request) : {}) });
}

/** The rest of a request, from the tokens of its prompt and its output so far. The answer has the shape of a completion. */
export function restFromTokens(
  request: GenerateRequest,
  fields: Fields,
  facts: ServerFacts,
  promptIds: readonly number[],
  extra: Fields = {},
): Uint8Array {
  const edits: Record<string, Edit> = {};
  for (const name of notContinued) edits[name] = { drop: true };
  const produced = request.resumeTokenIds.length;
  const limit = outputLimit(fields, request);
  if (limit !== undefined) edits.max_tokens = { set: String(limit - produced) };
  if (typeof fields.min_tokens === 'number') edits.min_tokens = { set: String(Math.max(0, fields.min_tokens - produced)) };
  edits.prompt = { set: JSON.stringify([...promptIds, ...request.resumeTokenIds]) };
  for (const [name, value] of Object.entries(extra)) edits[name] = { set: JSON.stringify(value) };
  return edited(request.body, { ...common(request, fields, facts, false), ...edits, ...idsEdits('completions', {}, facts) });
}

/** The rest of a request from its text, where tokens are not known. Undefined: its prompt is nothing that text can follow. */
export function restFromText(request: GenerateRequest, fields: Fields, facts: ServerFacts): Uint8Array | undefined {
  const limit = outputLimit(fields, request);
  const left =
    limit === undefined ? {} : { max_completion_tokens: { drop: true }, max_tokens: { set: String(Math.max(1, limit - request.nextIndex)) } };
  const edits = { ...common(request, fields, facts, asksForIds(request, facts)), ...(left as Edits) };
  if (request.endpoint === 'completions') {
    const { prompt } = fields;
    const only = Array.isArray(prompt) && prompt.length === 1 ? prompt[0] : prompt;
    return typeof only === 'string' ? edited(request.body, { ...edits, prompt: { set: JSON.stringify(only + request.resumeText) } }) : undefined;
  }
  const messages = Array.isArray(fields.messages) ? fields.messages : [];
  if (!facts.continuesMessage || asFields(messages.at(-1))?.role === 'assistant') return undefined;
  return edited(request.body, {
    ...edits,
    messages: { set: JSON.stringify([...messages, { role: 'assistant', content: request.resumeText }]) },
    continue_final_message: { set: 'true' },
    add_generation_prompt: { set: 'false' },
  });
}

export function asksForIds(request: GenerateRequest, { tokenIds }: ServerFacts): boolean {
  return request.endpoint === 'chat' ? tokenIds.chat : tokenIds.completions;
}

function common(request: GenerateRequest, fields: Fields, facts: ServerFacts, withIds: boolean): Edits {
  return {
    ...(fields.model === facts.model ? {} : { model: { set: JSON.stringify(facts.model) } }),
    ...((fields.stream === true) === request.clientStreams ? {} : { stream: { set: String(request.clientStreams) } }),
    ...(withIds ? idsEdits(request.endpoint, fields, facts) : {}),
    ...(request.clientStreams && facts.streamOptions ? { stream_options: { withinObject: { include_usage: { set: 'true' } } } } : {}),
  };
}

/** llama-server tells the ids of tokens only beside their probabilities. What the client asked for in this is left as it is. */
function idsEdits(endpoint: string, fields: Fields, { kind }: ServerFacts): Edits {
  if (kind !== 'llama-server') return { return_token_ids: { set: 'true' } };
  if (asksForLogprobs(fields)) return {};
  return endpoint === 'chat' ? { logprobs: { set: 'true' }, top_logprobs: { set: '1' } } : { logprobs: { set: '1' } };
}

export function asksForLogprobs({ logprobs }: Fields): boolean {
  return logprobs !== undefined && logprobs !== null && logprobs !== false;
}

/** A server left to itself would go on to the end of its context, and the gateway has counted on less. */
function limitEdit(fields: Fields, request: GenerateRequest): Edits {
  const limit = outputLimit(fields, request);
  const name = typeof fields.max_completion_tokens === 'number' ? 'max_completion_tokens' : 'max_tokens';
  return limit === undefined || fields[name] === limit ? {} : { [name]: { set: String(limit) } };
}
