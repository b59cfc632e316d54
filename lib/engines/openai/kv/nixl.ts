// vLLM with a KV connector (NIXL): the source computes the last token of the context once more, out of its own prefix cache, and
// keeps the blocks; the target's server reads them when it gets the same tokens and the source's word on where they are.
// As observed on vLLM 0.32.0.
import { refusal } from '../../../../core/errors/switchyard-error.ts';
import { asFields } from '../chunk.ts';
import { jsonOf, type ServerClient } from '../client.ts';
import type { HandOverWay } from './hand-over-way.ts';

const giveWithinMs = 20_000;
/** What a server must say for another to find the blocks; a note without it, or with made-up ids, can end the reading engine. */
const needed = ['remote_engine_id', 'remote_request_id', 'remote_host', 'remote_port', 'remote_block_ids'] as const;

export function nixlWay(client: ServerClient, model: () => string): HandOverWay {
  return {
    async give({ tokenIds }) {
      const kv_transfer_params = { do_remote_decode: true, do_remote_prefill: false };
      const asked = { model: model(), prompt: tokenIds, max_tokens: 1, temperature: 0, kv_transfer_params };
      const answer = await client.post('/v1/completions', asked, giveWithinMs);
      const given = asFields(jsonOf(answer)?.kv_transfer_params);
      return given && isWhole(given) ? given : refusal('transfer_failed', `${client.url} answers ${answer.status} without saying where the KV is`);
    },
    async take(given) {
      return isWhole(given) ? { extra: { kv_transfer_params: given } } : refusal('invalid_request', 'this does not say where the KV is');
    },
    // The source frees the blocks when they have been read, or when its own lease ends.
    forget() {},
  };
}

function isWhole(given: Readonly<Record<string, unknown>>): boolean {
  const blocks = given.remote_block_ids;
  return given.do_remote_prefill === true && needed.every((name) => given[name] !== undefined && given[name] !== null) && Array.isArray(blocks);
}
