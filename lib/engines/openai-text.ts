// The bytes that an engine of ours says: OpenAI chunks and bodies. One string per token: everything that repeats is built
// once per sequence.
import type { Usage } from '../../proto/gen/messages.ts';

export interface AnswerFacts {
  readonly requestId: string;
  readonly endpoint: 'chat' | 'completions';
  readonly model: string;
  /** Unix seconds. */
  readonly createdS: number;
  /** What computes the answer, as `system_fingerprint` says it. */
  readonly fingerprint: string;
  readonly includeUsage: boolean;
  /** Empty: not stated. */
  readonly serviceTier: string;
}

export interface OpenaiToolCall {
  readonly id: string;
  readonly type: 'function';
  readonly function: { readonly name: string; readonly arguments: string };
}

export interface AnswerText {
  /** Before the first token; empty for completions. */
  readonly roleChunk: string;
  /** A piece of the answer, as the JSON of its text. */
  chunk(textJson: string): string;
  /** Anything else of a chat's answer, as the JSON of a delta. */
  deltaChunk(deltaJson: string): string;
  /** Says why it ended; then usage, if asked for. The stream's end marker is the gateway's. */
  finalChunks(finishReason: string, usage: Usage): string;
  /** The whole answer for a client that does not stream. */
  finalBody(text: string, finishReason: string, usage: Usage, toolCalls?: readonly OpenaiToolCall[]): string;
}

export function answerText(facts: AnswerFacts): AnswerText {
  const chat = facts.endpoint === 'chat';
  const head = {
    id: `${chat ? 'chatcmpl' : 'cmpl'}-${facts.requestId}`,
    object: chat ? 'chat.completion.chunk' : 'text_completion',
    created: facts.createdS,
    model: facts.model,
    system_fingerprint: facts.fingerprint,
    ...(facts.serviceTier === '' ? {} : { service_tier: facts.serviceTier }),
  };
  const opening = `data: ${JSON.stringify(head).slice(0, -1)}${facts.includeUsage ? ',"usage":null' : ''},"choices":[{"index":0,`;
  const beforeText = chat ? `${opening}"delta":{"content":` : `${opening}"text":`;
  const afterText = chat ? '},"logprobs":null,"finish_reason":null}]}\n\n' : ',"logprobs":null,"finish_reason":null}]}\n\n';

  return {
    roleChunk: chat ? `${opening}"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}\n\n` : '',
    chunk: (textJson) => beforeText + textJson + afterText,
    deltaChunk: (deltaJson) => `${opening}"delta":${deltaJson},"logprobs":null,"finish_reason":null}]}\n\n`,
    finalChunks(finishReason, usage) {
      const last = `${opening}${chat ? '"delta":{}' : '"text":""'},"logprobs":null,"finish_reason":${JSON.stringify(finishReason)}}]}\n\n`;
      return facts.includeUsage ? `${last}data: ${JSON.stringify({ ...head, choices: [], usage: usageJson(usage) })}\n\n` : last;
    },
    finalBody(text, finishReason, usage, toolCalls = []) {
      const calls = toolCalls.length === 0 ? {} : { tool_calls: toolCalls };
      const content = text === '' && toolCalls.length > 0 ? null : text;
      const said = chat ? { message: { role: 'assistant', content, refusal: null, ...calls } } : { text };
      const choice = { index: 0, ...said, logprobs: null, finish_reason: finishReason };
      return JSON.stringify({ ...head, object: chat ? 'chat.completion' : 'text_completion', choices: [choice], usage: usageJson(usage) });
    },
  };
}

function usageJson(usage: Usage) {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.outputTokens,
    total_tokens: usage.promptTokens + usage.outputTokens,
    prompt_tokens_details: { cached_tokens: usage.cachedTokens },
  };
}
