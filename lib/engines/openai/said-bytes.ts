// What goes to the client: the server's own bytes without what was added on the way in, and for a request that another server
// has begun, with what stood in the chunks of that one.
import type { Edit, Edits } from '../../../core/openai/edit-json.ts';
import { edited } from '../../../core/openai/edit-json.ts';
import type { Carry, Usage } from '../../../proto/gen/messages.ts';
import type { ChoiceSaid, Said } from './chunk.ts';
import type { Dialect } from './dialects/dialect.ts';
import type { SseEvent } from './sse.ts';

export interface Wishes {
  /** Token ids were asked for by us alone. */
  readonly hidesIds: boolean;
  /** Where the ids stand beside probabilities that we alone have asked for. */
  readonly hidesLogprobs: 'chat' | 'completions' | undefined;
  /** So was usage. */
  readonly hidesUsage: boolean;
  /** The name that answers carry, where the server has another one. */
  readonly model: string | undefined;
  /** Of the stream that is continued. */
  readonly carry: Carry | undefined;
}

/** The same for every chunk of a stream. */
export function answerEdits(wishes: Wishes, { untoldIds }: Dialect): Edits {
  const edits: Record<string, Edit> = {};
  const { carry } = wishes;
  if (wishes.hidesIds) {
    const untold: Edit = untoldIds === 'null' ? { swap: 'null' } : { drop: true };
    edits.prompt_token_ids = untold;
    edits.choices = { within: { token_ids: untold, prompt_token_ids: untold } };
  }
  if (wishes.hidesLogprobs) edits.choices = { within: { logprobs: wishes.hidesLogprobs === 'chat' ? { drop: true } : { swap: 'null' } } };
  if (wishes.hidesUsage) edits.usage = { drop: true };
  if (wishes.model !== undefined) edits.model = { swap: JSON.stringify(wishes.model) };
  if (carry) {
    edits.id = { swap: JSON.stringify(carry.answerId) };
    edits.created = { swap: String(carry.createdS) };
    edits.model = { swap: JSON.stringify(carry.model) };
  }
  return edits;
}

/** The event with its data changed. */
export function editedEvent({ bytes, dataStart, dataEnd }: SseEvent, edits: Edits): Uint8Array {
  const data = bytes.subarray(dataStart, dataEnd);
  const changed = edited(data, edits);
  return changed === data ? bytes : Buffer.concat([bytes.subarray(0, dataStart), changed, bytes.subarray(dataEnd)]);
}

/** A chunk of a chat out of one of a completion, in the words of the stream that it continues. */
export function chatChunk(carry: Carry, choice: ChoiceSaid, withIds: boolean): Uint8Array {
  return line(carry, {
    choices: [
      {
        index: 0,
        delta: choice.text === '' ? {} : { content: choice.text },
        logprobs: null,
        finish_reason: choice.finishReason || null,
        ...(withIds && choice.tokenIds ? { token_ids: choice.tokenIds } : {}),
      },
    ],
  });
}

export function chatUsageChunk(carry: Carry, usage: Usage): Uint8Array {
  return line(carry, { choices: [], usage: usageJson(usage) });
}

/** The counts of the rest as those of the whole. */
export function usageEdits(usage: Usage): Edits {
  const { prompt_tokens, completion_tokens, total_tokens } = usageJson(usage);
  const counts = { prompt_tokens, completion_tokens, total_tokens };
  return { usage: { within: Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, { swap: String(count) }])) } };
}

/** The end of a request of which everything was said but that it is over. */
export function lastChunk(carry: Carry, endpoint: 'chat' | 'completions', finishReason: string): Uint8Array {
  const empty = { index: 0, logprobs: null, finish_reason: finishReason };
  if (endpoint === 'chat') return line(carry, { choices: [{ ...empty, delta: {} }] });
  return Buffer.from(`data: ${JSON.stringify({ ...head(carry), object: 'text_completion', choices: [{ ...empty, text: '' }] })}\n\n`);
}

function head({ answerId, createdS, model }: Carry) {
  return { id: answerId, object: 'chat.completion.chunk', created: createdS, model };
}

function line(carry: Carry, more: object): Uint8Array {
  return Buffer.from(`data: ${JSON.stringify({ ...head(carry), ...more })}\n\n`);
}

function usageJson({ promptTokens, outputTokens, cachedTokens }: Usage) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: outputTokens,
    total_tokens: promptTokens + outputTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}

/** What the client's stream carries that whoever continues must repeat. */
export function carryOf(said: Said, shown: { model: string; promptTokens: number; promptCrc: number; phase: Carry['phase'] }): Carry {
  return { answerId: said.id, createdS: said.createdS, ...shown };
}
