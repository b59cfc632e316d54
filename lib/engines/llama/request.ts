// From an OpenAI request body to what the llama engine needs. What it cannot honour is refused, with what to do instead:
// never left out in silence. Fields that change nothing about the tokens (user, metadata, store, …) are not looked at.
import { refusal } from '../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../proto/gen/messages.ts';
import type { LlamaEngineConfig } from '../../config/fleet.ts';
import type { Grammar, PromptSource, Sampling } from './child/messages.ts';
import { refusedField } from './refused-fields.ts';
import { seedOfRequest } from './sampling.ts';
import { grammarOf } from './structured-output.ts';
import { callMark, grammarOfCalls, type ToolMode, toolsOf } from './tool-calls.ts';

export interface LlamaRequest {
  /** Token ids are the prompt as it is. */
  readonly prompt: PromptSource | { readonly kind: 'tokens'; readonly tokens: readonly number[] };
  /** Set by the client, if at all. */
  readonly maxTokens: number | undefined;
  readonly stop: readonly string[];
  readonly sampling: Sampling;
  /** How the answer may call tools. */
  readonly tools: ToolMode;
}

type Fields = Readonly<Record<string, unknown>>;

const maxStops = 16;
const maxBiases = 300;

/** What of the engine a request depends on. */
export interface RequestContext {
  readonly vocabularySize: number;
  /** Empty: the model has none. */
  readonly chatTemplate: string;
  /** Where a request says nothing. */
  readonly usual: LlamaEngineConfig['sampling'];
}

export function readRequest(requestId: string, endpoint: string, body: Uint8Array, context: RequestContext): LlamaRequest | Refusal {
  const parsed = parseJson(body);
  if (parsed === undefined) return refusal('invalid_json', 'the body is not JSON');
  const fields = asRecord(parsed);
  if (!fields) return no('the body must be a JSON object');
  const refused = refusedField(fields);
  if (refused) return no(refused);
  const maxTokens = fields.max_completion_tokens ?? fields.max_tokens ?? undefined;
  if (maxTokens !== undefined && !(Number.isInteger(maxTokens) && (maxTokens as number) > 0)) return no('max_tokens must be a positive integer');
  const stop: readonly unknown[] = Array.isArray(fields.stop) ? fields.stop : [fields.stop ?? ''];
  if (stop.length > maxStops || !stop.every((entry) => typeof entry === 'string'))
    return no(`stop must be a text or a list of at most ${maxStops} texts`);
  const tools = endpoint === 'completions' ? noTools : toolUse(fields, context.chatTemplate);
  if ('code' in tools) return tools;
  const grammar = grammarOf(fields, tools.grammar);
  if (isRefusal(grammar)) return grammar;
  const sampling = samplingOf(requestId, fields, grammar.text, context);
  if ('code' in sampling) return sampling;
  const prompt = endpoint === 'completions' ? completionPrompt(fields, context.vocabularySize) : chatPrompt(fields, context.chatTemplate, tools.mode);
  if ('code' in prompt) return prompt;
  return { prompt, maxTokens: maxTokens as number | undefined, stop: stop.filter((entry) => entry !== '') as string[], sampling, tools: tools.mode };
}

/** Output tokens that an answer may have: within the context, and what else limits it. Refused: what leaves no room for an answer. */
export function outputLimit(promptTokens: number, contextTokens: number, limits: readonly (number | undefined)[]): number | Refusal {
  if (promptTokens === 0) return no('the prompt is empty: it makes no token');
  if (promptTokens >= contextTokens) {
    return refusal('context_length_exceeded', `the context of this model is ${contextTokens} tokens, the prompt has ${promptTokens}: shorten it`);
  }
  return Math.min(contextTokens - promptTokens, ...limits.filter((limit) => limit !== undefined));
}

function samplingOf(requestId: string, fields: Fields, grammar: Grammar | undefined, { vocabularySize, usual }: RequestContext): Sampling | Refusal {
  const problems: string[] = [];
  const number = (field: string, otherwise: number, from: number, to: number): number => {
    const value = fields[field];
    if (value === undefined || value === null) return otherwise;
    if (typeof value !== 'number' || !(value >= from && value <= to)) problems.push(`${field} must be a number from ${from} to ${to}`);
    return value as number;
  };
  const topK = number('top_k', usual.topK, -1, 1_000_000);
  const sampling = {
    temperature: number('temperature', usual.temperature, 0, 100),
    topK: Math.max(0, topK),
    topP: number('top_p', usual.topP, 0, 1),
    minP: number('min_p', usual.minP, 0, 1),
    presencePenalty: number('presence_penalty', 0, -2, 2),
    frequencyPenalty: number('frequency_penalty', 0, -2, 2),
    repetitionPenalty: number('repetition_penalty', number('repeat_penalty', 1, 0.01, 100), 0.01, 100),
    ignoreEos: fields.ignore_eos === true,
  };
  const { seed, logit_bias: bias } = fields;
  if (seed !== undefined && seed !== null && !Number.isInteger(seed)) problems.push('seed must be an integer');
  const logitBias = Object.entries(asRecord(bias) ?? {}).map(([token, value]) => [Number(token), value] as [number, number]);
  if (bias !== undefined && bias !== null && !asRecord(bias)) problems.push('logit_bias must be an object from token ids to numbers');
  if (logitBias.length > maxBiases) problems.push(`logit_bias names at most ${maxBiases} tokens`);
  if (logitBias.some(([token, value]) => !isTokenId(token, vocabularySize) || typeof value !== 'number' || Math.abs(value) > 100)) {
    problems.push(`logit_bias goes from token ids below ${vocabularySize} to numbers from -100 to 100`);
  }
  if (sampling.repetitionPenalty !== 1 && (sampling.presencePenalty !== 0 || sampling.frequencyPenalty !== 0)) {
    problems.push('repetition_penalty counts the prompt and the others do not: this engine takes one kind at a time');
  }
  if (problems.length > 0) return no(problems[0]!);
  // -100 bans a token, whatever its logit is.
  const banned = logitBias.map(([token, value]) => [token, value <= -100 ? Number.NEGATIVE_INFINITY : value] as const);
  return { ...sampling, logitBias: banned, grammar, seed: typeof seed === 'number' ? foldedSeed(seed) : seedOfRequest(requestId) };
}

function completionPrompt(fields: Fields, vocabularySize: number): LlamaRequest['prompt'] | Refusal {
  const prompt =
    Array.isArray(fields.prompt) && fields.prompt.length === 1 && typeof fields.prompt[0] !== 'number' ? fields.prompt[0] : fields.prompt;
  if (typeof prompt === 'string' && prompt !== '') return { kind: 'text', text: prompt };
  if (Array.isArray(prompt) && prompt.length > 0 && prompt.every((id) => typeof id === 'number')) {
    if (prompt.every((id) => isTokenId(id, vocabularySize))) return { kind: 'tokens', tokens: prompt };
    return no(`prompt must hold token ids below ${vocabularySize}, the size of this model's vocabulary`);
  }
  return no('prompt must be a text or token ids; several prompts are several requests');
}

function chatPrompt(fields: Fields, chatTemplate: string, tools: ToolMode): PromptSource | Refusal {
  const { messages } = fields;
  if (!Array.isArray(messages) || messages.length === 0) return no('messages must hold at least one message');
  if (chatTemplate === '') return no('this model has no chat template: ask it at /v1/completions');
  const read: Record<string, unknown>[] = [];
  for (const message of messages) {
    const fields = asRecord(message);
    if (typeof fields?.role !== 'string') return no('every message must have a role');
    const content = contentText(fields.content);
    if (content === undefined) return no('this engine reads text only: send messages without images, sound or files');
    read.push({ ...fields, content, ...callsForTemplate(fields.tool_calls) });
  }
  const continues = fields.continue_final_message === true;
  if (continues && fields.add_generation_prompt !== false) return no('continue_final_message needs add_generation_prompt: false');
  if (continues && read.at(-1)!.role !== 'assistant') return no('continue_final_message needs a last message of the assistant');
  const effort = typeof fields.reasoning_effort === 'string' ? { reasoning_effort: fields.reasoning_effort } : {};
  const template = { ...effort, ...asRecord(fields.chat_template_kwargs), ...(tools === 'none' ? {} : { tools: fields.tools }) };
  return { kind: 'chat', messages: read, template, continues };
}

/** Templates write the arguments of earlier calls themselves: they want them as they are, not as text. */
function callsForTemplate(calls: unknown): { tool_calls?: unknown[] } {
  if (!Array.isArray(calls)) return {};
  const read = calls.map((call) => {
    const described = asRecord(asRecord(call)?.function);
    const given = typeof described?.arguments === 'string' ? parseJson(Buffer.from(described.arguments)) : undefined;
    return given === undefined ? call : { ...(call as object), function: { ...described, arguments: given } };
  });
  return { tool_calls: read };
}

interface ToolUse {
  readonly mode: ToolMode;
  /** That the answer has to keep to. */
  readonly grammar?: Grammar;
}

const noTools: ToolUse = { mode: 'none' };

/** How the tools of a request are to be called. */
function toolUse({ tools, tool_choice: choice, parallel_tool_calls: parallel }: Fields, chatTemplate: string): ToolUse | Refusal {
  if (!Array.isArray(tools) || tools.length === 0) {
    return choice === 'required' || asRecord(choice) ? no('tool_choice wants a tool, and tools has none') : noTools;
  }
  if (choice === 'none') return noTools;
  if (!/\btools\b/.test(chatTemplate)) return no("this model's chat template knows no tools: leave out tools, or ask for JSON by response_format");
  const read = toolsOf(tools);
  if ('problem' in read) return no(read.problem);
  if (choice === undefined || choice === null || choice === 'auto') {
    if (chatTemplate.includes(callMark)) return { mode: 'marked' };
    return no("calls of tools in this model's own form cannot be read: set tool_choice to required, to one of the functions, or to none");
  }
  const wanted = asRecord(asRecord(choice)?.function)?.name;
  const offered = choice === 'required' ? read : read.filter(({ name }) => name === wanted);
  if (offered.length === 0) return no('tool_choice must be none, auto, required, or one of the functions in tools');
  if (parallel === true && choice === 'required') return no('a call that is required is one call here: leave out parallel_tool_calls');
  const made = grammarOfCalls(offered);
  return 'problem' in made ? no(made.problem) : { mode: 'forced', grammar: made.grammar };
}

function contentText(content: unknown): string | undefined {
  if (content === undefined || content === null) return '';
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return undefined;
  const texts = content
    .map((part) => asRecord(part))
    .map((part) => (part?.type === 'text' || part?.type === 'refusal' ? (part.text ?? part.refusal) : undefined));
  return texts.every((text) => typeof text === 'string') ? texts.join('') : undefined;
}

/** Seeds are integers of any size and sign; the engine's have 32 bits. */
function foldedSeed(seed: number): number {
  return ((seed % 4_294_967_296) + 4_294_967_296) % 4_294_967_296;
}

function isTokenId(id: unknown, vocabularySize: number): boolean {
  return Number.isInteger(id) && (id as number) >= 0 && (id as number) < vocabularySize;
}

function isRefusal(value: object): value is Refusal {
  return 'code' in value;
}

function no(message: string): Refusal {
  return refusal('invalid_request', message);
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'));
  } catch {
    return undefined;
  }
}

function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
}
