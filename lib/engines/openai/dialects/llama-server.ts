// llama-server of llama.cpp. Its streams bring token ids only beside probabilities, so it is asked for those. `/metrics` needs --metrics, `/slots` is there unless --no-slots says
// otherwise, and saving slots needs --slot-save-path.
import { asFields } from '../chunk.ts';
import { jsonOf } from '../client.ts';
import { sumOf } from '../exposition.ts';
import { askWithinMs, type Dialect } from './dialect.ts';

export const llamaServer: Dialect = {
  kind: 'llama-server',
  metricNames: ['llamacpp:requests_processing', 'llamacpp:requests_deferred'],
  asksForIds: true,
  untoldIds: 'absent',

  load(samples) {
    return {
      running: sumOf(samples, 'llamacpp:requests_processing'),
      waiting: sumOf(samples, 'llamacpp:requests_deferred'),
      kvUsage: undefined,
      preemptions: undefined,
    };
  },

  async ask(client) {
    const [props, slots, templated] = await Promise.all([
      client.getJson('/props', askWithinMs),
      client.get('/slots', askWithinMs),
      client.post('/apply-template', { messages: [{ role: 'user', content: 'Hi' }] }, askWithinMs),
    ]);
    const count = positive(props?.total_slots);
    const context = positive(asFields(props?.default_generation_settings)?.n_ctx);
    return {
      software: typeof props?.build_info === 'string' ? `llama-server ${props.build_info}` : 'llama-server',
      contextTokens: context,
      tokenizePath: typeof jsonOf(templated)?.prompt === 'string' ? '/apply-template' : '',
      takesIds: true,
      continuesMessage: true,
      slots: slots.status === 200,
      prefixCache: true,
      kvShape: [props?.model_ftype, context].filter(Boolean).join('/'),
      maxRunning: count,
      // Slots do not share their cells: each has room for one context.
      ...(count && context ? { totalBlocks: Math.floor((count * context) / cells), blockTokens: cells } : {}),
    };
  },
};

/** llama.cpp counts single cells; they are told in blocks of this many. */
const cells = 16;

function positive(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined;
}
