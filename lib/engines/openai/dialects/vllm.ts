// vLLM, as observed on 0.32.0. `/is_paused` and `/server_info` are there in its development mode only. Chats become token ids at
// `/tokenize`; the render endpoints would do the same, but are off unless asked for (--enable-scale-out).

import { asFields } from '../chunk.ts';
import type { Fields, ServerClient } from '../client.ts';
import { jsonOf } from '../client.ts';
import { meanOf, type Samples, sumOf } from '../exposition.ts';
import type { ServerFacts } from '../facts.ts';
import { askWithinMs, type Dialect } from './dialect.ts';

const cacheInfo = 'vllm:cache_config_info';

export const vllm: Dialect = {
  kind: 'vllm',
  metricNames: ['vllm:num_requests_running', 'vllm:num_requests_waiting', 'vllm:kv_cache_usage_perc', 'vllm:num_preemptions_total', cacheInfo],
  asksForIds: true,
  untoldIds: 'null',

  load(samples) {
    return {
      running: sumOf(samples, 'vllm:num_requests_running'),
      waiting: sumOf(samples, 'vllm:num_requests_waiting'),
      kvUsage: meanOf(samples, 'vllm:kv_cache_usage_perc'),
      preemptions: sumOf(samples, 'vllm:num_preemptions_total'),
      ...blocksOf(samples),
    };
  },

  async ask(client, model) {
    const [version, paused, tokenized, info, handed] = await Promise.all([
      client.getJson('/version', askWithinMs),
      client.getJson('/is_paused', askWithinMs),
      client.post('/tokenize', { model, messages: [{ role: 'user', content: 'Hi' }] }, askWithinMs),
      client.getJson('/server_info?config_format=json', askWithinMs),
      handsOver(client, model),
    ]);
    return {
      software: typeof version?.version === 'string' ? `vllm ${version.version}` : 'vllm',
      pause: typeof paused?.is_paused === 'boolean',
      tokenizePath: Array.isArray(jsonOf(tokenized)?.tokens) ? '/tokenize' : '',
      takesIds: true,
      continuesMessage: true,
      kvConnector: handed,
      maxRunning: maxSequences(info),
    };
  },

  async stopped(client) {
    const paused = await client.getJson('/is_paused', askWithinMs);
    return paused?.is_paused === true ? 'it is paused (POST /resume lets it go on)' : undefined;
  },
};

/** Labels of the cache's description: blocks and their size, and what else must be alike for others to read the KV. */
export function cacheFacts(samples: Samples): Partial<ServerFacts> {
  const labels = samples.get(cacheInfo)?.[0]?.labels;
  if (!labels) return {};
  return {
    ...blocksOf(samples),
    prefixCache: labels.enable_prefix_caching === 'True',
    kvShape: [labels.cache_dtype, labels.block_size].filter(Boolean).join('/'),
  };
}

/** Each engine behind the server has a cache of its own. */
function blocksOf(samples: Samples): { totalBlocks?: number; blockTokens?: number } {
  const rows = samples.get(cacheInfo);
  const blocks = rows?.reduce((sum, { labels }) => sum + (Number(labels.num_gpu_blocks) || 0), 0) ?? 0;
  const blockTokens = Number(rows?.[0]?.labels.block_size) || 0;
  return blocks > 0 && blockTokens > 0 ? { totalBlocks: blocks, blockTokens } : {};
}

/** A request that asks to be handed on is answered with where its KV is, if there is a connector. Less than a block of it. */
async function handsOver(client: ServerClient, model: string): Promise<boolean> {
  const kv_transfer_params = { do_remote_decode: true, do_remote_prefill: false };
  const answer = await client.post('/v1/completions', { model, prompt: 'Hi', max_tokens: 1, kv_transfer_params }, askWithinMs);
  return asFields(jsonOf(answer)?.kv_transfer_params) !== undefined;
}

/** Anywhere in the description of its configuration. */
function maxSequences(info: Fields | undefined): number | undefined {
  const scheduler = asFields(asFields(info?.vllm_config)?.scheduler_config);
  const found = Number(scheduler?.max_num_seqs);
  return found > 0 ? found : undefined;
}
