// A server with the OpenAI API that stands for a large model: calls tools, keeps to schemas, refuses in its own words, and
// remembers what reached it. Its answers go by the prompt.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

export interface PassedOn {
  readonly url: string;
  /** Bodies of requests for answers, as they came. */
  readonly bodies: string[];
  /** Requests whose connection was closed before their answer was whole. */
  left(): number;
  /** Answers 503 to so many requests before it is well again. */
  busyFor(requests: number): void;
  stop(): Promise<void>;
}

/** Its refusal, in words and with fields that are its own. */
export const ownRefusal = {
  error: { message: 'tool_choice "required" needs --enable-auto-tool-choice', type: 'BadRequestError', param: null, code: 400 },
};
/** To a prompt that has this word. */
export const refusedWord = 'forbidden';
export const endlessWord = 'endless';
export const weatherJson = '{"city":"Rome","warm":true}';
const pieceMs = 10;

interface Body {
  readonly model: string;
  readonly stream?: boolean;
  readonly messages: readonly { readonly content: unknown }[];
  readonly tools?: readonly { readonly function: { readonly name: string } }[];
}

export async function startPassedOn(model: string): Promise<PassedOn> {
  const bodies: string[] = [];
  let left = 0;
  let busy = 0;
  const server = createServer((request, response) => void serve(request, response).catch(() => response.destroy()));

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader('content-type', 'application/json');
    if (request.url === '/v1/models') return void response.end(JSON.stringify({ object: 'list', data: [{ id: model, object: 'model' }] }));
    if (request.method !== 'POST' || request.url !== '/v1/chat/completions') return void response.writeHead(404).end('{"detail":"Not Found"}');
    const sent = await text(request);
    const body = JSON.parse(sent) as Body;
    const prompt = JSON.stringify(body.messages);
    // Whether it is well is asked by who watches it, with a token that nobody sees.
    if (!prompt.includes('weather') && !prompt.includes(refusedWord) && !prompt.includes(endlessWord))
      return answer(response, body, { content: 'ok' });
    bodies.push(sent);
    response.on('close', () => {
      if (!response.writableFinished) left++;
    });
    if (busy > 0) {
      busy--;
      return void response.writeHead(503).end('{"error":{"message":"warming up","type":"server_error","param":null,"code":503}}');
    }
    if (prompt.includes(refusedWord)) return void response.writeHead(400).end(JSON.stringify(ownRefusal));
    if (prompt.includes(endlessWord)) return endless(response, body);
    const [tool] = body.tools ?? [];
    return answer(response, body, tool ? { tool: tool.function.name } : { content: weatherJson });
  }

  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bodies,
    left: () => left,
    busyFor(requests) {
      busy = requests;
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

const usage = { prompt_tokens: 7, completion_tokens: 5, total_tokens: 12 };

function answer(response: ServerResponse, body: Body, said: { content?: string; tool?: string }): void {
  const head = { id: 'chatcmpl-of-the-engine', created: 1_700_000_000, model: body.model };
  const finish = said.tool ? 'tool_calls' : 'stop';
  const call = (args: string) => ({ index: 0, id: 'call_1', type: 'function', function: { name: said.tool, arguments: args } });
  if (!body.stream) {
    const message = { role: 'assistant', content: said.content ?? null, ...(said.tool && { tool_calls: [call(weatherJson)] }) };
    response.end(JSON.stringify({ ...head, object: 'chat.completion', choices: [{ index: 0, message, finish_reason: finish }], usage }));
    return;
  }
  response.setHeader('content-type', 'text/event-stream');
  const half = Math.floor(weatherJson.length / 2);
  const deltas = said.tool
    ? [
        { role: 'assistant', content: null, tool_calls: [call('')] },
        ...halves(weatherJson, half).map((part) => ({ tool_calls: [{ index: 0, function: { arguments: part } }] })),
      ]
    : [{ role: 'assistant', content: '' }, ...halves(said.content!, half).map((content) => ({ content }))];
  for (const delta of deltas)
    response.write(event({ ...head, object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason: null }] }));
  response.write(event({ ...head, object: 'chat.completion.chunk', choices: [{ index: 0, delta: {}, finish_reason: finish }] }));
  response.write(event({ ...head, object: 'chat.completion.chunk', choices: [], usage }));
  response.end('data: [DONE]\n\n');
}

function endless(response: ServerResponse, body: Body): void {
  response.setHeader('content-type', 'text/event-stream');
  const timer = setInterval(() => {
    const choices = [{ index: 0, delta: { content: 'on and ' }, finish_reason: null }];
    response.write(event({ id: 'chatcmpl-endless', object: 'chat.completion.chunk', created: 1, model: body.model, choices }));
  }, pieceMs);
  response.on('close', () => clearInterval(timer));
}

function halves(whole: string, at: number): string[] {
  return [whole.slice(0, at), whole.slice(at)];
}

function event(value: unknown): string {
  return `data: ${JSON.stringify(value)}\n\n`;
}
