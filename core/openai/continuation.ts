// Which requests cannot be continued honestly from prompt and tokens alone. An engine that restores such state itself
// declares it as a capability, `continue:<need>` or `continue:*` for all.

export type ContinuationNeed = 'choices' | 'guided' | 'penalties' | 'stop' | 'logprobs' | 'text';

const guidedFields = [
  'guided_json',
  'guided_regex',
  'guided_choice',
  'guided_grammar',
  'guided_decoding_backend',
  'structured_outputs',
  'grammar',
  'json_schema',
  'regex',
  'ebnf',
];

/** What an engine must restore for this body to be continued elsewhere, sorted. */
export function continuationNeeds(body: Readonly<Record<string, unknown>>): ContinuationNeed[] {
  const needs: ContinuationNeed[] = [];
  if (above(body.n, 1) || above(body.best_of, 1)) needs.push('choices');
  if (isGuided(body)) needs.push('guided');
  if (body.logprobs !== undefined && body.logprobs !== null && body.logprobs !== false) needs.push('logprobs');
  if (set(body.presence_penalty, 0) || set(body.frequency_penalty, 0) || set(body.repetition_penalty, 1)) needs.push('penalties');
  if (typeof body.stop === 'string' || (Array.isArray(body.stop) && body.stop.length > 0)) needs.push('stop');
  return needs;
}

/** The first need that the instance does not declare, or undefined when it restores all of them. */
export function unmetNeed(needs: readonly ContinuationNeed[], capabilities: readonly string[]): ContinuationNeed | undefined {
  if (needs.length === 0 || capabilities.includes('continue:*')) return undefined;
  return needs.find((need) => !capabilities.includes(`continue:${need}`));
}

function isGuided(body: Readonly<Record<string, unknown>>): boolean {
  const format = body.response_format;
  if (typeof format === 'object' && format !== null && (format as { type?: unknown }).type !== 'text') return true;
  if (body.tool_choice === 'required' || (typeof body.tool_choice === 'object' && body.tool_choice !== null)) return true;
  return guidedFields.some((field) => body[field] !== undefined && body[field] !== null);
}

function above(value: unknown, limit: number): boolean {
  return typeof value === 'number' && value > limit;
}

function set(value: unknown, neutral: number): boolean {
  return typeof value === 'number' && value !== neutral;
}
