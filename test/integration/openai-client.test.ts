import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { promptTextOf } from '../../core/engine/prompt.ts';
import { expectedTokens } from '../../core/engine/token-function.ts';
import type { MoveAnswer } from '../../lib/operator/types.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';

const model = 'llama-3.1-8b';
const messages = [{ role: 'user', content: 'Tell me a story' }] as const;

describe('the official OpenAI client', () => {
  let fleet: Fleet;
  let openai: OpenAI;
  beforeAll(async () => {
    fleet = await startFleet({
      pools: [
        {
          id: 'chat',
          models: [model],
          instances: 2,
          sim: { profile: 'llama-3.1-8b-h100', speed: 0.2, blocks: 1024, kvBytesPerToken: 256, maxRunning: 16, maxWaiting: 16 },
        },
      ],
    });
    openai = new OpenAI({ baseURL: `${fleet.gatewayUrl}/v1`, apiKey: 'not-needed', maxRetries: 0 });
  });
  afterAll(() => fleet?.stop());

  const expected = (count: number) => expectedTokens(model, promptTextOf('chat', { messages }) as string, count).text;

  it('lists models', async () => {
    expect((await openai.models.list()).data.map((entry) => entry.id)).toEqual([model]);
    expect((await openai.models.retrieve(model)).id).toBe(model);
  });

  it('gets a whole answer with its usage', async () => {
    const answer = await openai.chat.completions.create({ model, messages: [...messages], max_tokens: 20 });
    expect(answer.choices[0]?.message.content).toBe(expected(20));
    expect(answer.choices[0]?.finish_reason).toBe('length');
    expect(answer.usage).toMatchObject({ completion_tokens: 20 });
  });

  it('streams, while the request moves to another instance', async () => {
    const stream = await openai.chat.completions.create({
      model,
      messages: [...messages],
      max_tokens: 120,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let usage: unknown;
    let moving: Promise<void> | undefined;
    let chunks = 0;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? '';
      usage = chunk.usage ?? usage;
      chunks++;
      if (chunks !== 20) continue;
      moving = fleet
        .client('test')
        .post<MoveAnswer>('/migrate', { request: chunk.id.replace('chatcmpl-', ''), to: '' })
        .then(() => {});
    }
    await moving;
    expect(text).toBe(expected(120));
    expect(usage).toMatchObject({ completion_tokens: 120 });
    await eventually('the move is counted', 5_000, async () => {
      const rows = await fleet.requests(true);
      return { ok: rows.some((row) => row.migrations === 1 && row.state === 'completed'), seen: rows };
    });
  });

  it('gets errors it understands', async () => {
    await expect(openai.chat.completions.create({ model: 'nobody', messages: [...messages] })).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
    });
    await expect(openai.chat.completions.create({ model, messages: [], max_tokens: 1 })).rejects.toMatchObject({
      status: 400,
      type: 'invalid_request_error',
    });
  });
});
