import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { connectStreams, problems } from './live-streams.ts';

const streamCount = 20;

describe('an agent killed with SIGKILL', () => {
  let fleet: Fleet;
  beforeAll(async () => {
    fleet = await startFleet({
      pools: [
        {
          id: 'chat',
          models: ['llama-3.1-8b'],
          instances: 3,
          sim: { profile: 'llama-3.1-8b-h100', speed: 0.15, blocks: 2048, kvBytesPerToken: 256, maxRunning: 64, maxWaiting: 16 },
        },
      ],
      settings: { 'migration-coordinator': { mode: 'off' } },
    });
  });
  afterAll(() => fleet?.stop());

  it(`loses none of its ${streamCount} streams: all continue elsewhere, token-exact`, async () => {
    const operator = fleet.client('test');
    const streams = connectStreams(fleet.gatewayUrl);
    // With the others closed to new requests all streams land on the first instance.
    for (const instance of ['chat-2', 'chat-3']) await operator.post('/drain', { instance });
    await eventually('only chat-1 takes requests', 10_000, async () => {
      const rows = await fleet.instances();
      return { ok: rows.filter((row) => row.cordoned).length === 2, seen: rows };
    });
    const answers = Array.from({ length: streamCount }, (_, index) =>
      streams.open({ model: 'llama-3.1-8b', prompt: `Stream number ${index}: tell me everything about it`, outputTokens: 150, sloClass: 'default' }),
    );
    await eventually('all streams have begun on chat-1', 20_000, async () => {
      const rows = (await fleet.requests()).filter((row) => row.instance === 'chat-1' && row.state === 'streaming' && row.tokens > 5);
      return { ok: rows.length === streamCount, seen: rows.length };
    });
    for (const instance of ['chat-2', 'chat-3']) await operator.post('/undrain', { instance });
    await eventually('the others take requests again', 10_000, async () => {
      const rows = await fleet.instances();
      return { ok: rows.every((row) => !row.cordoned), seen: rows };
    });
    await fleet.kill('agent-chat-1');

    const results = await Promise.all(answers);
    const rows = (await fleet.requests(true)).filter((row) => results.some((result) => result.requestId === row.id));
    console.log(
      `${results.length} streams over a killed agent: ${results.filter((result) => result.outcome === 'exact').length} token-exact, longest pause ${Math.max(...results.map((result) => result.longestGapMs)).toFixed(0)} ms`,
    );
    expect(problems(results)).toEqual([]);
    expect(rows.map((row) => row.failovers)).toEqual(results.map(() => 1));
    expect(rows.every((row) => row.instance !== 'chat-1')).toBe(true);
    await streams.close();
  }, 120_000);
});
