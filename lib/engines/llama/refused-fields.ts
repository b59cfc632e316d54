// Fields of requests that ask for something else than a llama engine gives. Each is refused unless its value asks for nothing:
// leaving it out in silence would be an answer to another request.

interface RefusedField {
  /** Values that ask for nothing; null always does. */
  readonly neutral: readonly unknown[];
  readonly instead: string;
}

const oneChoice = 'this engine gives one choice per request';
const noLogprobs = 'this engine gives no log probabilities';
const textOnly = 'this engine gives text only';
const ofSampler = 'this engine has no such sampler';
const unknown = 'this engine does not know it';

const refusedFields: Readonly<Record<string, RefusedField>> = {
  n: { neutral: [1], instead: oneChoice },
  best_of: { neutral: [1], instead: oneChoice },
  use_beam_search: { neutral: [false], instead: oneChoice },
  logprobs: { neutral: [false], instead: noLogprobs },
  top_logprobs: { neutral: [0], instead: noLogprobs },
  prompt_logprobs: { neutral: [false], instead: noLogprobs },
  echo: { neutral: [false], instead: 'this engine does not repeat the prompt' },
  suffix: { neutral: [''], instead: 'this engine does not fill in' },
  audio: { neutral: [], instead: textOnly },
  web_search_options: { neutral: [], instead: 'this engine does not search' },
  functions: { neutral: [], instead: 'this engine takes tools' },
  function_call: { neutral: ['none'], instead: 'this engine takes tool_choice' },
  min_tokens: { neutral: [0], instead: 'this engine knows no least length' },
  stop_token_ids: { neutral: [], instead: 'this engine takes stop, with texts' },
  include_stop_str_in_output: { neutral: [false], instead: 'this engine never shows what it stops for' },
  skip_special_tokens: { neutral: [true], instead: 'this engine never shows special tokens' },
  add_special_tokens: { neutral: [true], instead: unknown },
  return_token_ids: { neutral: [false], instead: unknown },
  truncate_prompt_tokens: { neutral: [], instead: 'this engine refuses prompts that are too long' },
  prompt_embeds: { neutral: [], instead: unknown },
  allowed_token_ids: { neutral: [], instead: 'this engine takes logit_bias, or a grammar' },
  bad_words: { neutral: [], instead: 'this engine takes logit_bias, or a grammar' },
  chat_template: { neutral: [], instead: "this engine takes its model's own template" },
  documents: { neutral: [], instead: 'this engine takes messages only' },
  guided_regex: { neutral: [], instead: 'this engine takes a schema, a choice or a grammar' },
  regex: { neutral: [], instead: 'this engine takes a schema, a choice or a grammar' },
  ebnf: { neutral: [], instead: 'this engine takes a grammar in GBNF' },
  kv_transfer_params: { neutral: [], instead: unknown },
  logits_processors: { neutral: [], instead: unknown },
  lora: { neutral: [], instead: 'this engine has no adapters' },
  typical_p: { neutral: [1], instead: ofSampler },
  dynatemp_range: { neutral: [0], instead: ofSampler },
  dry_multiplier: { neutral: [0], instead: ofSampler },
  xtc_probability: { neutral: [0], instead: ofSampler },
  mirostat: { neutral: [0], instead: ofSampler },
  top_n_sigma: { neutral: [-1, 0], instead: ofSampler },
  length_penalty: { neutral: [1], instead: ofSampler },
};

/** Why a request cannot be honoured, and what to do; undefined: nothing in it stands in the way. */
export function refusedField(fields: Readonly<Record<string, unknown>>): string | undefined {
  for (const [field, { neutral, instead }] of Object.entries(refusedFields)) {
    const value = fields[field];
    if (value === undefined || value === null || neutral.includes(value) || isEmptyList(value)) continue;
    return `${instead}: leave out ${field}`;
  }
  const { modalities } = fields;
  const isText = modalities === undefined || modalities === null || (Array.isArray(modalities) && modalities.every((one) => one === 'text'));
  return isText ? undefined : `${textOnly}: leave out modalities`;
}

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}
