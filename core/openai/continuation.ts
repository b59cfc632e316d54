// Which requests cannot be continued honestly from prompt and tokens alone. An engine that restores such state itself
// declares it as a capability, `continue:<need>` or `continue:*` for all.

export type ContinuationNeed =
  /** Several answers at once: their tokens are not one log. */
  | 'choices'
  /** A grammar or schema: how far into it the output is would be lost. */
  | 'guided'
  /** Penalties for what was said already: to another engine it is part of the prompt, which is not penalised, or differently. */
  | 'penalties'
  /** Samplers that go by their own history, or by code of the client's. */
  | 'sampler'
  /** A stop string may straddle the cut, and what may be the beginning of one is held back. */
  | 'stop'
  | 'logprobs'
  /** Tools that a parser looks for in the output: from the middle of a call, or before one, it is plain text elsewhere. */
  | 'tools'
  /** Images, sound, embeddings: a prompt that is not token ids alone. */
  | 'media'
  /** The answer begins with the prompt, or is put between two texts. */
  | 'echo'
  /** The engine gives no token ids: there is nothing but text to go on from. */
  | 'text';

type Fields = Readonly<Record<string, unknown>>;

const guidedFields = [
  ...['guided_json', 'guided_regex', 'guided_choice', 'guided_grammar', 'guided_decoding_backend', 'structured_outputs'],
  ...['grammar', 'grammar_lazy', 'json_schema', 'regex', 'ebnf', 'structural_tag'],
];

/** With the value that changes nothing. */
const penaltyFields: Readonly<Record<string, number>> = {
  presence_penalty: 0,
  frequency_penalty: 0,
  repetition_penalty: 1,
  repeat_penalty: 1,
  dry_multiplier: 0,
  no_repeat_ngram_size: 0,
};

const samplerFields: readonly string[] = [
  ...['mirostat', 'mirostat_mode', 'adaptive_target', 'logits_processors', 'custom_logit_processor', 'custom_params', 'vllm_xargs'],
  ...['repetition_detection', 'watermarking', 'thinking_token_budget', 'bad_words', 'use_beam_search'],
];

const textParts: ReadonlySet<unknown> = new Set(['text', 'input_text', 'refusal', 'thinking']);

/** What an engine must restore for this body to be continued elsewhere, sorted. */
export function continuationNeeds(body: Fields): ContinuationNeed[] {
  const needs: ContinuationNeed[] = [];
  if (above(body.n, 1) || above(body.best_of, 1)) needs.push('choices');
  if (body.echo === true || (typeof body.suffix === 'string' && body.suffix !== '')) needs.push('echo');
  if (isGuided(body)) needs.push('guided');
  if (asked(body.logprobs) || asked(body.prompt_logprobs)) needs.push('logprobs');
  if (hasMedia(body)) needs.push('media');
  if (Object.entries(penaltyFields).some(([name, neutral]) => set(body[name], neutral))) needs.push('penalties');
  if (samplerFields.some((name) => isOn(body[name]))) needs.push('sampler');
  if (typeof body.stop === 'string' || (Array.isArray(body.stop) && body.stop.length > 0)) needs.push('stop');
  if (hasTools(body)) needs.push('tools');
  return needs;
}

/** The first need that the instance does not declare, or undefined when it restores all of them. */
export function unmetNeed(needs: readonly ContinuationNeed[], capabilities: readonly string[]): ContinuationNeed | undefined {
  if (needs.length === 0 || capabilities.includes('continue:*')) return undefined;
  return needs.find((need) => !capabilities.includes(`continue:${need}`));
}

function isGuided(body: Fields): boolean {
  const format = body.response_format;
  if (typeof format === 'object' && format !== null && (format as { type?: unknown }).type !== 'text') return true;
  if (body.tool_choice === 'required' || (typeof body.tool_choice === 'object' && body.tool_choice !== null)) return true;
  return guidedFields.some((field) => body[field] !== undefined && body[field] !== null);
}

/** An engine looks for calls in what the model says when there are tools, unless it was told that there will be none. */
function hasTools(body: Fields): boolean {
  return (
    [body.tools, body.functions].some((list) => Array.isArray(list) && list.length > 0) &&
    body.tool_choice !== 'none' &&
    body.function_call !== 'none'
  );
}

function hasMedia(body: Fields): boolean {
  if (body.prompt_embeds !== undefined && body.prompt_embeds !== null) return true;
  const wanted = body.modalities;
  if (Array.isArray(wanted) && wanted.some((one) => one !== 'text')) return true;
  return Array.isArray(body.messages) && body.messages.some((message) => hasMediaPart(message));
}

function hasMediaPart(message: unknown): boolean {
  const content = typeof message === 'object' && message !== null ? (message as Fields).content : undefined;
  return Array.isArray(content) && content.some((part) => typeof part === 'object' && part !== null && !textParts.has((part as Fields).type));
}

function asked(value: unknown): boolean {
  return value !== undefined && value !== null && value !== false;
}

/** Zero, an empty list or object, and what is not there change nothing. */
function isOn(value: unknown): boolean {
  if (!asked(value) || value === 0 || value === -1) return false;
  return typeof value !== 'object' || Object.keys(value as object).length > 0;
}

function above(value: unknown, limit: number): boolean {
  return typeof value === 'number' && value > limit;
}

function set(value: unknown, neutral: number): boolean {
  return typeof value === 'number' && value !== neutral;
}
