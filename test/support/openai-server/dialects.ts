// How scripted servers of each kind say the same things: chunks, usage, metrics, what they are. Made after answers of vLLM 0.32.0,
// the source of llama.cpp b6 (server-task.cpp) and SGLang's pull request 30917.
export type Kind = 'vllm' | 'sglang' | 'llama-server' | 'generic';

export interface Chunk {
  readonly text: string;
  readonly ids: readonly number[];
  readonly finishReason: string | null;
}

export interface Stream {
  readonly chat: boolean;
  readonly id: string;
  readonly created: number;
  readonly model: string;
  readonly promptIds: readonly number[];
  /** Asked for, and known to this kind. */
  readonly withIds: boolean;
}

type Json = Record<string, unknown>;

const head = ({ chat, id, created, model }: Stream, whole = false): Json => ({
  id,
  object: chat ? (whole ? 'chat.completion' : 'chat.completion.chunk') : 'text_completion',
  created,
  model,
});

/** Before the first token of a chat; undefined: nothing is said. */
export function roleChunk(kind: Kind, stream: Stream): Json | undefined {
  if (!stream.chat) return undefined;
  const content = kind === 'llama-server' ? null : '';
  const choice = { index: 0, delta: { role: 'assistant', content }, logprobs: null, finish_reason: null };
  return { ...head(stream), choices: [choice], ...(kind === 'vllm' ? { prompt_token_ids: stream.withIds ? stream.promptIds : null } : {}) };
}

export function tokenChunk(kind: Kind, stream: Stream, { text, ids, finishReason }: Chunk, first: boolean): Json {
  const said = stream.chat ? { delta: text === '' && kind !== 'vllm' ? {} : { content: text } } : { text };
  const more: Json = {};
  if (kind === 'vllm') {
    if (finishReason !== null) more.stop_reason = null;
    if (!stream.chat) more.prompt_token_ids = first && stream.withIds ? stream.promptIds : null;
    more.token_ids = stream.withIds ? ids : null;
  } else if (stream.withIds) {
    more.token_ids = ids;
    if (first) more.prompt_token_ids = stream.promptIds;
  }
  return { ...head(stream), choices: [{ index: 0, ...said, logprobs: null, finish_reason: finishReason, ...more }] };
}

export function usageOf(promptTokens: number, outputTokens: number): Json {
  return { prompt_tokens: promptTokens, completion_tokens: outputTokens, total_tokens: promptTokens + outputTokens };
}

export function usageChunk(kind: Kind, stream: Stream, outputTokens: number): Json {
  const timings = kind === 'llama-server' ? { timings: { predicted_n: outputTokens } } : {};
  return { ...head(stream), choices: [], usage: usageOf(stream.promptIds.length, outputTokens), ...timings };
}

export function wholeAnswer(kind: Kind, stream: Stream, { text, ids, finishReason }: Chunk): Json {
  const said = stream.chat ? { message: { role: 'assistant', content: text } } : { text };
  const known = kind === 'vllm' || stream.withIds;
  const choice = { index: 0, ...said, logprobs: null, finish_reason: finishReason, ...(known ? { token_ids: stream.withIds ? ids : null } : {}) };
  const prompt = known ? { prompt_token_ids: stream.withIds ? stream.promptIds : null } : {};
  return { ...head(stream, true), choices: [choice], usage: usageOf(stream.promptIds.length, ids.length), ...prompt };
}

export interface Load {
  readonly running: number;
  readonly waiting: number;
  readonly usedBlocks: number;
  readonly blocks: number;
  readonly blockTokens: number;
  readonly startedAtS: number;
}

export function metricsText(kind: Kind, load: Load): string | undefined {
  const usage = load.usedBlocks / load.blocks;
  switch (kind) {
    case 'vllm':
      return [
        '# TYPE vllm:num_requests_running gauge',
        `vllm:num_requests_running{engine="0",model_name="tiny"} ${load.running}.0`,
        `vllm:num_requests_waiting{engine="0",model_name="tiny"} ${load.waiting}.0`,
        'vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 17.0',
        `vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} ${usage}`,
        'vllm:num_preemptions_total{engine="0",model_name="tiny"} 3.0',
        'vllm:num_preemptions_created{engine="0",model_name="tiny"} 1.7e+09',
        `vllm:cache_config_info{block_size="${load.blockTokens}",cache_dtype="auto",enable_prefix_caching="True",engine="0",num_gpu_blocks="${load.blocks}"} 1.0`,
        `process_start_time_seconds ${load.startedAtS}`,
        '',
      ].join('\n');
    case 'sglang':
      return `sglang:num_running_reqs{model_name="tiny"} ${load.running}\nsglang:num_queue_reqs{model_name="tiny"} ${load.waiting}\nsglang:token_usage{model_name="tiny"} ${usage}\n`;
    case 'llama-server':
      return `llamacpp:requests_processing ${load.running}\nllamacpp:requests_deferred ${load.waiting}\n`;
    case 'generic':
      return undefined;
  }
}
