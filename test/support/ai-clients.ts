// Client libraries that people use, behind one shape, so that the same tests drive each of them: the official openai client, the
// AI SDK with its provider for compatible servers, and LangChain.

import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { HumanMessage } from '@langchain/core/messages';
import { tool as langchainTool } from '@langchain/core/tools';
import { ChatOpenAI } from '@langchain/openai';
import { generateText, jsonSchema, Output, streamText, tool } from 'ai';
import OpenAI from 'openai';

export interface Ask {
  readonly model: string;
  readonly prompt: string;
  readonly maxTokens?: number;
  readonly signal?: AbortSignal;
  /** Times that the client may repeat a request by itself; its own default waits between them. */
  readonly retries?: number;
}

export interface Answer {
  readonly text: string;
  /** As the client calls it. */
  readonly finish: string;
  readonly outputTokens: number;
}

export interface ToolCall {
  readonly name: string;
  readonly input: unknown;
}

export interface AiClient {
  readonly name: string;
  ask(ask: Ask): Promise<Answer>;
  /** `onPiece` is waited for, with the number of pieces so far. */
  stream(ask: Ask, onPiece?: (count: number) => unknown): Promise<Answer>;
  /** An answer that keeps to a JSON schema. */
  structured(ask: Ask, schema: JsonSchema): Promise<unknown>;
  /** The calls that the model asks for, streamed. */
  tools(ask: Ask, offered: OfferedTool): Promise<ToolCall[]>;
}

export type JsonSchema = Readonly<Record<string, unknown>>;

export interface OfferedTool {
  readonly name: string;
  readonly description: string;
  readonly parameters: JsonSchema;
}

/** Greedy, so that every client and every run gets the same text. */
const temperature = 0;
const apiKey = 'not-needed';

/** `seen`: the body of each request, as it leaves the client. */
export function aiClients(baseUrl: string, seen: (body: string) => void = () => {}): readonly AiClient[] {
  const watched: typeof fetch = (input, init) => {
    if (typeof init?.body === 'string') seen(init.body);
    return fetch(input, init);
  };
  return [openaiClient(baseUrl, watched), aiSdk(baseUrl, watched), langchain(baseUrl, watched)];
}

/** The HTTP status in an error of any of them. */
export function statusOf(error: unknown): number | undefined {
  const { status, statusCode, lastError, cause } = error as { status?: number; statusCode?: number; lastError?: unknown; cause?: unknown };
  if (status !== undefined || statusCode !== undefined) return status ?? statusCode;
  return lastError || cause ? statusOf(lastError ?? cause) : undefined;
}

function openaiClient(baseURL: string, watched: typeof fetch): AiClient {
  const client = (retries = 0) => new OpenAI({ baseURL, apiKey, maxRetries: retries, fetch: watched });
  const body = ({ model, prompt, maxTokens }: Ask) => ({
    model,
    messages: [{ role: 'user' as const, content: prompt }],
    temperature,
    ...(maxTokens !== undefined && { max_tokens: maxTokens }),
  });
  return {
    name: 'openai',
    async ask(ask) {
      const answer = await client(ask.retries).chat.completions.create(body(ask), { signal: ask.signal });
      const [choice] = answer.choices;
      return { text: choice!.message.content ?? '', finish: choice!.finish_reason, outputTokens: answer.usage!.completion_tokens };
    },
    async stream(ask, onPiece) {
      const request = { ...body(ask), stream: true as const, stream_options: { include_usage: true } };
      const stream = await client(ask.retries).chat.completions.create(request, { signal: ask.signal });
      let [text, finish, outputTokens, count] = ['', '', 0, 0];
      for await (const { choices, usage } of stream) {
        text += choices[0]?.delta.content ?? '';
        finish = choices[0]?.finish_reason ?? finish;
        outputTokens = usage?.completion_tokens ?? outputTokens;
        await onPiece?.(++count);
      }
      // It ends the iteration of an aborted stream in silence.
      ask.signal?.throwIfAborted();
      return { text, finish, outputTokens };
    },
    async structured(ask, schema) {
      const format = { type: 'json_schema' as const, json_schema: { name: 'answer', schema, strict: true } };
      const answer = await client(ask.retries).chat.completions.parse({ ...body(ask), response_format: format });
      return JSON.parse(answer.choices[0]!.message.content!);
    },
    async tools(ask, offered) {
      const stream = client(ask.retries).chat.completions.stream({ ...body(ask), tools: [{ type: 'function', function: { ...offered } }] });
      const { choices } = await stream.finalChatCompletion();
      const calls = choices[0]!.message.tool_calls ?? [];
      return calls.flatMap((call) =>
        call.type === 'function' ? [{ name: call.function.name, input: JSON.parse(call.function.arguments) as unknown }] : [],
      );
    },
  };
}

function aiSdk(baseURL: string, watched: typeof fetch): AiClient {
  const provider = createOpenAICompatible({
    name: 'switchyard',
    baseURL,
    apiKey,
    fetch: watched,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
  const settings = ({ model, prompt, maxTokens, signal, retries = 0 }: Ask) => ({
    model: provider(model),
    prompt,
    temperature,
    maxRetries: retries,
    ...(maxTokens !== undefined && { maxOutputTokens: maxTokens }),
    ...(signal && { abortSignal: signal }),
  });
  return {
    name: 'ai with @ai-sdk/openai-compatible',
    async ask(ask) {
      const { text, finishReason, usage } = await generateText(settings(ask));
      return { text, finish: finishReason, outputTokens: usage.outputTokens ?? 0 };
    },
    async stream(ask, onPiece) {
      const { fullStream } = streamText({ ...settings(ask), onError: () => {} });
      let [text, finish, outputTokens, count] = ['', '', 0, 0];
      for await (const part of fullStream) {
        if (part.type === 'error') throw part.error;
        if (part.type === 'abort') throw new DOMException('aborted', 'AbortError');
        if (part.type === 'finish') [finish, outputTokens] = [part.finishReason, part.totalUsage.outputTokens ?? 0];
        if (part.type !== 'text-delta') continue;
        text += part.text;
        await onPiece?.(++count);
      }
      return { text, finish, outputTokens };
    },
    async structured(ask, schema) {
      const { output } = await generateText({ ...settings(ask), output: Output.object({ schema: jsonSchema(schema), name: 'answer' }) });
      return output;
    },
    async tools(ask, { name, description, parameters }) {
      const offered = { [name]: tool({ description, inputSchema: jsonSchema(parameters) }) };
      const calls: ToolCall[] = [];
      for await (const part of streamText({ ...settings(ask), tools: offered, onError: () => {} }).fullStream) {
        if (part.type === 'error') throw part.error;
        if (part.type === 'tool-call') calls.push({ name: part.toolName, input: part.input });
      }
      return calls;
    },
  };
}

function langchain(baseURL: string, watched: typeof fetch): AiClient {
  const model = ({ model, maxTokens, retries = 0 }: Ask) =>
    new ChatOpenAI({
      model,
      apiKey,
      temperature,
      maxRetries: retries,
      ...(maxTokens !== undefined && { maxTokens }),
      configuration: { baseURL, fetch: watched },
    });
  const messages = ({ prompt }: Ask) => [new HumanMessage(prompt)];
  const options = ({ signal }: Ask) => (signal ? { signal } : {});
  return {
    name: '@langchain/openai',
    async ask(ask) {
      const answer = await model(ask).invoke(messages(ask), options(ask));
      return {
        text: answer.text,
        finish: String(answer.response_metadata.finish_reason),
        outputTokens: answer.usage_metadata?.output_tokens ?? 0,
      };
    },
    async stream(ask, onPiece) {
      let [text, finish, outputTokens, count] = ['', '', 0, 0];
      for await (const chunk of await model(ask).stream(messages(ask), options(ask))) {
        text += chunk.text;
        finish = (chunk.response_metadata.finish_reason as string | undefined) ?? finish;
        outputTokens = chunk.usage_metadata?.output_tokens ?? outputTokens;
        if (chunk.text !== '') await onPiece?.(++count);
      }
      ask.signal?.throwIfAborted();
      return { text, finish, outputTokens };
    },
    structured: (ask, schema) =>
      model(ask).withStructuredOutput(schema, { name: 'answer', method: 'jsonSchema', strict: true }).invoke(messages(ask)),
    async tools(ask, { name, description, parameters }) {
      const offered = langchainTool(() => '', { name, description, schema: parameters });
      let whole: { tool_calls?: { name: string; args: unknown }[] | undefined } | undefined;
      for await (const chunk of await model(ask).bindTools([offered]).stream(messages(ask))) {
        whole = whole === undefined ? chunk : (whole as typeof chunk).concat(chunk);
      }
      return (whole?.tool_calls ?? []).map((call) => ({ name: call.name, input: call.args }));
    },
  };
}
