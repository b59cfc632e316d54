// SGLang. Its chat streams refuse `return_token_ids` (its completions take it), which the probe of the ids finds out by itself.
import { asFields } from '../chunk.ts';
import { meanOf, sumOf } from '../exposition.ts';
import { askWithinMs, type Dialect } from './dialect.ts';

export const sglang: Dialect = {
  kind: 'sglang',
  metricNames: ['sglang:num_running_reqs', 'sglang:num_queue_reqs', 'sglang:token_usage'],
  asksForIds: true,
  untoldIds: 'absent',

  load(samples) {
    return {
      running: sumOf(samples, 'sglang:num_running_reqs'),
      waiting: sumOf(samples, 'sglang:num_queue_reqs'),
      kvUsage: meanOf(samples, 'sglang:token_usage'),
      preemptions: undefined,
    };
  },

  async ask(client) {
    const info = (await client.getJson('/get_server_info', askWithinMs)) ?? (await client.getJson('/server_info', askWithinMs));
    const state = Array.isArray(info?.internal_states) ? asFields(info.internal_states[0]) : undefined;
    const number = (name: string) => positive(state?.[name]) ?? positive(info?.[name]);
    const page = positive(info?.page_size) ?? 1;
    const tokens = number('max_total_num_tokens');
    const mode = info?.disaggregation_mode;
    return {
      software: typeof info?.version === 'string' ? `sglang ${info.version}` : 'sglang',
      contextTokens: number('context_length') ?? number('max_req_input_len'),
      takesIds: true,
      continuesMessage: true,
      kvConnector: typeof mode === 'string' && mode !== 'null',
      prefixCache: info !== undefined && info.disable_radix_cache !== true,
      maxRunning: number('max_running_requests') ?? number('effective_max_running_requests_per_dp'),
      ...(tokens === undefined ? {} : { totalBlocks: Math.floor(tokens / page), blockTokens: page }),
    };
  },
};

function positive(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined;
}
