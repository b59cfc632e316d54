// Client libraries over a server that runs already: what Switchyard does not know itself reaches the engine untouched, and the
// engine's answer comes back untouched.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { aiClients, statusOf } from '../support/ai-clients.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { endlessWord, ownRefusal, type PassedOn, refusedWord, startPassedOn } from '../support/passed-on.ts';

const model = 'large';
const prompt = 'What is the weather in Rome?';
const names = aiClients('http://127.0.0.1').map(({ name }) => name);
const schema = {
  type: 'object',
  properties: { city: { type: 'string' }, warm: { type: 'boolean' } },
  required: ['city', 'warm'],
  additionalProperties: false,
} as const;
const weather = { city: 'Rome', warm: true };

describe('clients of a server that runs already', () => {
  let fleet: Fleet;
  let server: PassedOn;
  beforeAll(async () => {
    server = await startPassedOn(model);
    fleet = await startFleet({
      pools: [
        {
          id: 'remote',
          models: [model],
          engine: 'openai',
          instances: 1,
          min: 1,
          max: 1,
          openai: { kind: 'generic', servers: [{ url: server.url }] },
        },
      ],
    });
  });
  afterAll(async () => {
    await fleet?.stop();
    await server?.stop();
  });

  const sent: string[] = [];
  const clientOf = (name: string) => aiClients(`${fleet.gatewayUrl}/v1`, (body) => sent.push(body)).find((client) => client.name === name)!;

  /** Every field of what the client has sent is in what the engine has got, as it was. */
  function expectUntouched(fields: readonly string[]): void {
    const [before, after] = [sent.at(-1)!, server.bodies.at(-1)!].map((body) => JSON.parse(body) as Record<string, unknown>) as [
      Record<string, unknown>,
      Record<string, unknown>,
    ];
    for (const field of fields) expect(before, 'the client sends it').toHaveProperty(field);
    const { stream_options: _added, ...rest } = before;
    expect(after).toMatchObject(rest);
  }

  describe.each(names)('%s', (name) => {
    test('tools reach the engine as they are, and its calls come back piece by piece', async () => {
      const calls = await clientOf(name).tools({ model, prompt }, { name: 'weather', description: 'Tells the weather', parameters: schema });
      expect(calls).toEqual([{ name: 'weather', input: weather }]);
      expectUntouched(['tools']);
    });

    test('a schema for the answer reaches the engine as it is', async () => {
      expect(await clientOf(name).structured({ model, prompt }, schema)).toEqual(weather);
      expectUntouched(['response_format']);
    });

    test('streams with its usage', async () => {
      const answer = await clientOf(name).stream({ model, prompt, maxTokens: 9 });
      expect(answer).toEqual({ text: JSON.stringify(weather), finish: 'stop', outputTokens: 5 });
      expectUntouched(['messages', 'temperature', 'max_tokens']);
    });

    test("the engine's own refusal comes back in its own words", async () => {
      const refusal = await clientOf(name)
        .ask({ model, prompt: refusedWord })
        .catch((error: unknown) => error);
      expect(statusOf(refusal)).toBe(400);
      expect((refusal as Error).message).toContain(ownRefusal.error.message);
    });

    test('a client that leaves ends the request at the engine', async () => {
      const before = server.left();
      const leaving = new AbortController();
      const reading = clientOf(name).stream({ model, prompt: endlessWord, signal: leaving.signal }, (count) => {
        if (count === 5) leaving.abort();
      });
      await expect(reading).rejects.toThrow();
      await eventually('the engine sees it leave', 2_000, () => ({ ok: server.left() > before, seen: server.left() }));
    });

    test('an engine that is busy for a moment costs a repetition, not an error', async () => {
      server.busyFor(2);
      const answer = await clientOf(name).ask({ model, prompt, retries: 6 });
      expect(answer.text).toBe(JSON.stringify(weather));
    });
  });
});
