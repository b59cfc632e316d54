// What a server is and can do, as asked when it is first seen and each time it comes back.
import type { Capability } from '../../ports/engines.ts';

export type ServerKind = 'vllm' | 'sglang' | 'llama-server' | 'generic';

export interface ServerFacts {
  readonly kind: ServerKind;
  /** Name and version; empty: it does not say. */
  readonly software: string;
  /** The name that it knows the model by. */
  readonly model: string;
  /** Prompt and output together; undefined: it does not say. */
  readonly contextTokens: number | undefined;
  /** Streams bring token ids when they are asked for. */
  readonly tokenIds: { readonly chat: boolean; readonly completions: boolean };
  /** A prompt may be token ids. */
  readonly takesIds: boolean;
  /** Where a chat or a prompt becomes token ids, the same as it would for an answer; empty: nowhere. */
  readonly tokenizePath: string;
  /** `stream_options` are known to it. */
  readonly streamOptions: boolean;
  /** A last message of the assistant is continued when `continue_final_message` says so. */
  readonly continuesMessage: boolean;
  readonly metrics: boolean;
  /** Says whether it is paused. */
  readonly pause: boolean;
  /** Hands its KV to others, or fetches theirs (`kv_transfer_params`). */
  readonly kvConnector: boolean;
  /** Saves and restores the KV of its slots. */
  readonly slots: boolean;
  readonly prefixCache: boolean;
  readonly maxRunning: number | undefined;
  readonly totalBlocks: number | undefined;
  readonly blockTokens: number | undefined;
  /** Type of the KV cache, and whatever else must be alike for another server to read it. */
  readonly kvShape: string;
}

export const unknownServer: ServerFacts = {
  kind: 'generic',
  software: '',
  model: '',
  contextTokens: undefined,
  tokenIds: { chat: false, completions: false },
  takesIds: false,
  tokenizePath: '',
  streamOptions: false,
  continuesMessage: false,
  metrics: false,
  pause: false,
  kvConnector: false,
  slots: false,
  prefixCache: false,
  maxRunning: undefined,
  totalBlocks: undefined,
  blockTokens: undefined,
  kvShape: '',
};

/**
 * A request can go on here from its tokens, exactly as it would have: it says the tokens of prompts, takes those of others, and
 * brings those that it adds.
 */
export function continuesTokens({ tokenIds, takesIds, tokenizePath }: ServerFacts): boolean {
  return tokenIds.completions && takesIds && tokenizePath !== '';
}

export function capabilitiesOf(facts: ServerFacts): Capability[] {
  const found: [Capability, boolean][] = [
    ['token_ids', facts.tokenIds.chat || facts.tokenIds.completions],
    ['recompute', continuesTokens(facts) && facts.tokenIds.chat],
    ['continue:text', facts.kind !== 'generic'],
    ['metrics', facts.metrics],
    ['prefix_cache', facts.prefixCache],
    ['pause', facts.pause],
    ['prefill_decode', facts.kvConnector],
    ['slots', facts.slots],
  ];
  return found.filter(([, has]) => has).map(([name]) => name);
}
