// What a chunk of a stream, or a whole answer, says. Only what is needed is looked at; the bytes are passed on as they are.
import type { Usage } from '../../../proto/gen/messages.ts';

export interface ChoiceSaid {
  readonly index: number;
  readonly text: string;
  /** Undefined: the server gives none. */
  readonly tokenIds: readonly number[] | undefined;
  /** `answer`: text, or nothing to be seen. */
  readonly phase: 'answer' | 'reasoning' | 'tools';
  /** Nothing for a client to see: a role, or tokens whose text comes later. */
  readonly silent: boolean;
  /** Empty while it runs. */
  readonly finishReason: string;
}

export interface Said {
  readonly id: string;
  readonly createdS: number;
  readonly model: string;
  readonly choices: readonly ChoiceSaid[];
  readonly promptIds: readonly number[] | undefined;
  readonly usage: Usage | undefined;
  /** What stands under "error"; undefined: nothing. */
  readonly error: unknown;
}

type Fields = Readonly<Record<string, unknown>>;

/** Undefined: it is not a JSON object. */
export function readSaid(text: string): Said | undefined {
  const fields = parsed(text);
  if (!fields) return undefined;
  const choices = Array.isArray(fields.choices) ? fields.choices.map((choice) => asFields(choice) ?? {}) : [];
  const first = choices[0];
  return {
    id: textOf(fields.id),
    createdS: numberOf(fields.created),
    model: textOf(fields.model),
    choices: choices.map(readChoice),
    promptIds: idsOf(fields.prompt_token_ids) ?? idsOf(first?.prompt_token_ids),
    usage: readUsage(asFields(fields.usage)),
    error: fields.error ?? undefined,
  };
}

export function parsed(text: string): Fields | undefined {
  try {
    return asFields(JSON.parse(text));
  } catch {
    return undefined;
  }
}

export function asFields(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

function readChoice(choice: Fields): ChoiceSaid {
  // A stream has deltas, a whole answer a message, and both have text outside of chat.
  const said = asFields(choice.delta) ?? asFields(choice.message) ?? {};
  const text = textOf(said.content) || textOf(choice.text);
  const reasons = textOf(said.reasoning_content) !== '' || textOf(said.reasoning) !== '';
  const calls = (Array.isArray(said.tool_calls) && said.tool_calls.length > 0) || asFields(said.function_call) !== undefined;
  const refuses = textOf(said.refusal) !== '';
  return {
    index: numberOf(choice.index),
    text,
    tokenIds: idsOf(choice.token_ids) ?? idsBeside(asFields(choice.logprobs)?.content, text),
    phase: calls ? 'tools' : reasons ? 'reasoning' : 'answer',
    silent: text === '' && !reasons && !calls && !refuses,
    finishReason: textOf(choice.finish_reason),
  };
}

function readUsage(usage: Fields | undefined): Usage | undefined {
  if (!usage || typeof usage.completion_tokens !== 'number') return undefined;
  return {
    promptTokens: numberOf(usage.prompt_tokens),
    outputTokens: numberOf(usage.completion_tokens),
    cachedTokens: numberOf(asFields(usage.prompt_tokens_details)?.cached_tokens),
  };
}

function idsOf(value: unknown): readonly number[] | undefined {
  return Array.isArray(value) && value.every((id) => Number.isInteger(id) && id >= 0) ? (value as number[]) : undefined;
}

/**
 * llama-server tells ids with the probabilities of tokens; servers that tell no ids there have none. It says nothing of a token
 * that is half a character: the next one brings the text of both. Ids of which the text is not made are not all there are.
 */
function idsBeside(content: unknown, text: string): readonly number[] | undefined {
  if (!Array.isArray(content) || content.length === 0) return undefined;
  const tokens = content.map((token) => asFields(token) ?? {});
  const said = Buffer.concat(tokens.map(({ bytes }) => Buffer.from(Array.isArray(bytes) ? bytes : [])));
  return said.toString() === text ? idsOf(tokens.map(({ id }) => id)) : undefined;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function numberOf(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : 0;
}
