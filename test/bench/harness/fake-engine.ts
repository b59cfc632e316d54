// A program: a plain OpenAI-compatible engine, the same for every gateway. Same bytes and same rhythm as our simulated
// engine: streams step together, each gets one chunk a step; an answer that is not streamed comes at once. Arguments: port, model,
// step in ms.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tokenTexts } from '../../../core/engine/vocabulary.ts';
import { type AnswerText, answerText } from '../../../lib/engines/openai-text.ts';

const [port, model = '', stepMs] = process.argv.slice(2);

interface Running {
  readonly answer: AnswerText;
  readonly response: ServerResponse;
  readonly promptTokens: number;
  readonly tokens: number;
  sent: number;
}

const batch = new Set<Running>();
let requests = 0;

function usageOf({ promptTokens, tokens }: Running) {
  return { promptTokens, outputTokens: tokens, cachedTokens: 0 };
}

function step(): void {
  for (const one of batch) {
    one.sent += 1;
    const tokenId = (one.sent * 37) % tokenTexts.length;
    one.response.write((one.sent === 1 ? one.answer.roleChunk : '') + one.answer.chunk(JSON.stringify(tokenTexts[tokenId])));
    if (one.sent < one.tokens) continue;
    batch.delete(one);
    one.response.end(`${one.answer.finalChunks('length', usageOf(one))}data: [DONE]\n\n`);
  }
}

function answer(request: IncomingMessage, response: ServerResponse, body: Buffer): void {
  if (request.method !== 'POST') {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify({
        object: 'list',
        data: [{ id: model, object: 'model', root: model, max_model_len: 1_000_000 }],
        model_path: model,
        is_generation: true,
      }),
    );
    return;
  }
  const asked = JSON.parse(body.toString()) as { stream?: boolean; max_tokens?: number; stream_options?: { include_usage?: boolean } };
  const facts = {
    requestId: `req-${requests++}`,
    endpoint: 'chat',
    model,
    createdS: 1_750_000_000,
    fingerprint: 'fake',
    serviceTier: 'default',
  } as const;
  const streams = asked.stream === true;
  const one: Running = {
    answer: answerText({ ...facts, includeUsage: asked.stream_options?.include_usage === true }),
    response,
    promptTokens: Math.ceil(body.length / 4),
    tokens: asked.max_tokens ?? 16,
    sent: 0,
  };
  response.writeHead(200, { 'content-type': streams ? 'text/event-stream' : 'application/json' });
  if (!streams) {
    response.end(one.answer.finalBody(tokenTexts.slice(0, one.tokens).join(''), 'length', usageOf(one)));
    return;
  }
  batch.add(one);
  response.on('close', () => batch.delete(one));
}

const server = createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.on('end', () => answer(request, response, Buffer.concat(parts)));
});
server.listen(Number(port), '127.0.0.1');
setInterval(step, Number(stepMs));
