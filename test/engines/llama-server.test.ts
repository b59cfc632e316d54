// Two stock llama-servers behind a real Switchyard. Runs where one is on PATH or in the cache (npm run test:llama-server builds it).
import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CommandFailure } from '../../cli/client.ts';
import { findLlamaServer } from '../../infra/setup/llama-server.ts';
import type { MigrationsReport, MoveAnswer } from '../../lib/operator/types.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { type LlamaServers, startLlamaServers } from '../support/llama-servers.ts';
import { answer, heard, talk } from '../support/talk.ts';

const server = await findLlamaServer();
const chat = '/v1/chat/completions';
const completions = '/v1/completions';
const body = (path: string, text: string, maxTokens: number) => ({
  ...{ model: 'exact', temperature: 0, max_tokens: maxTokens },
  ...(path === chat ? { messages: [{ role: 'user', content: text }] } : { prompt: text }),
});

describe.skipIf(!server)('two stock llama-servers behind a gateway', () => {
  let servers: LlamaServers;
  let fleet: Fleet;
  beforeAll(async () => {
    servers = await startLlamaServers(server!, 2);
    fleet = await startFleet({
      pools: [
        {
          ...{ id: 'chat', models: ['exact'], engine: 'openai', instances: 2, max: 2 },
          openai: { servers: servers.urls.map((url) => ({ url })), slotDir: servers.slotDir, pollMs: 100 },
        },
      ],
      settings: { 'migration-coordinator': { mode: 'off' }, gateway: { stallMs: 30_000 } },
    });
  }, 200_000);
  afterAll(async () => {
    await fleet?.stop();
    await servers?.stop();
  });

  test('say what they are', async () => {
    const [row] = await fleet.instances();
    expect(row!.software).toContain('llama-server');
    expect(row!.capabilities).toEqual(expect.arrayContaining(['token_ids', 'recompute', 'metrics', 'slots', 'kv_pull']));
  });

  test.each([chat, completions] as const)(
    '%s: the answer of a server itself, with and without streaming, and nothing that nobody asked for',
    async (path) => {
      const asked = body(path, 'tell me about the sea', 30);
      const [ours, theirs] = [await answer(fleet.gatewayUrl, path, asked), await answer(servers.urls[0]!, path, asked)];
      const said = ({ body: { choices } }: typeof ours) => (choices as { text?: string; message?: { content: string } }[])[0]!;
      expect(said(ours)).toEqual(said(theirs));
      const [stream, direct] = [await heard(fleet.gatewayUrl, path, asked), await heard(servers.urls[1]!, path, asked)];
      expect([stream.text, stream.error, stream.done, stream.finishReason]).toEqual([direct.text, '', true, 'length']);
      const shape = (chunks: readonly Record<string, unknown>[]) => chunks.map((chunk) => JSON.stringify((chunk.choices as unknown[])?.[0]));
      expect(shape(stream.chunks)).toEqual(shape(direct.chunks));
      expect(stream.usage).toMatchObject({ completion_tokens: 30 });
    },
  );

  test('a client that leaves stops the work', async () => {
    const stream = await talk(fleet.gatewayUrl, chat, body(chat, 'tell me all', 1500));
    await eventually('it streams', 30_000, () => ({ ok: stream.text.length > 20, seen: stream.error }));
    stream.leave();
    await eventually('no slot is busy', 10_000, async () => {
      const busy = await Promise.all(
        servers.urls.map(async (url) => JSON.stringify((await answer(url, '/slots')).body).includes('"is_processing":true')),
      );
      return { ok: !busy.includes(true), seen: busy };
    });
  });

  test('running requests move with their slots, and their text is that of one server', async () => {
    const moved: string[] = [];
    for (let round = 0; moved.length < 4 && round < 12; round++) {
      const path = round % 2 === 0 ? chat : completions;
      const asked = body(path, `round ${round}: tell me about the ${'deep blue sea '.repeat(5 * round)}`, 500);
      const stream = await talk(fleet.gatewayUrl, path, asked);
      await eventually('it streams', 30_000, () => ({ ok: stream.text.length > 50, seen: stream.error }));
      const how = await moveOnce(stream.requestId);
      await stream.ended;
      expect(stream.error).toBe('');
      expect(stream.text).toBe((await heard(servers.urls[0]!, path, asked)).text);
      expect(stream.usage).toMatchObject({ completion_tokens: 500 });
      // One that ended before it could move was not moved; anything else is a failure.
      if (how !== 'ended') moved.push(how);
    }
    expect(moved).toEqual(['pull', 'pull', 'pull', 'pull']);
    expect(readdirSync(servers.slotDir)).toEqual([]);
  }, 120_000);

  /** How it moved, or why not. */
  async function moveOnce(request: string): Promise<string> {
    const operator = fleet.client('test');
    try {
      const { plan } = await operator.post<MoveAnswer>('/migrate', { request, to: '' });
      let ended: MigrationsReport['recent'][number] | undefined;
      await eventually('the move ends', 30_000, async () => {
        ended = (await operator.get<MigrationsReport>('/migrations')).recent.find(({ migrationId }) => migrationId === plan.migrationId);
        return { ok: ended !== undefined, seen: plan };
      });
      if (['unknown_request', 'sequence_finished'].includes(ended!.code)) return 'ended';
      return ended!.outcome === 'committed' ? ended!.mode : `${ended!.outcome} ${ended!.code}`;
    } catch (thrown) {
      if (thrown instanceof CommandFailure && thrown.code === 'unknown_request') return 'ended';
      throw thrown;
    }
  }

  test('a server that is killed costs its streams nothing but time', async () => {
    const asks = [chat, completions, chat, completions] as const;
    const bodies = asks.map((path, index) => body(path, `stream ${index}: tell me`, 500));
    const streams = await Promise.all(asks.map((path, index) => talk(fleet.gatewayUrl, path, bodies[index]!)));
    await eventually('all stream', 30_000, () => ({ ok: streams.every(({ text }) => text.length > 30), seen: streams.map(({ error }) => error) }));
    await servers.kill(0);
    await Promise.all(streams.map(({ ended }) => ended));
    for (const [index, path] of asks.entries()) {
      expect([streams[index]!.error, streams[index]!.done]).toEqual(['', true]);
      expect(streams[index]!.text).toBe((await heard(servers.urls[1]!, path, bodies[index]!)).text);
    }
  }, 120_000);
});
