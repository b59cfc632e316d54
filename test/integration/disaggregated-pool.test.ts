// A pool in which one instance computes long prompts and two go on with them: requests are handed over by the prefill agent itself,
// whose messages are held, lost and cut off here, and whose process is killed in the middle, like those of the others.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ReplayedRequest, ReplayResult } from '../../cli/replay/send.ts';
import { matches } from '../../lib/bus/subject.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Explanation, RequestRow } from '../../lib/operator/types.ts';
import { ReserveReply } from '../../proto/gen/messages.ts';
import { type BusGate, type GateMessage, startBusGate } from '../support/bus-gate.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { movingEngines } from '../support/moving-engines.ts';
import { connectStreams, problems, type Streams } from './live-streams.ts';

const model = 'llama-3.1-8b';
const pool = {
  id: 'chat',
  models: [model],
  instances: 3,
  max: 3,
  sim: { profile: 'llama-3.1-8b-h100', speed: 0.15, blocks: 4096, kvBytesPerToken: 1024, maxRunning: 64, maxWaiting: 64 },
};
/** About 2,000 tokens. */
const long = (label: string, index: number): ReplayedRequest =>
  ask(`${label} ${index}: ${'the river opened early and the piece was late '.repeat(170)}`);
const short = (label: string, index: number): ReplayedRequest => ask(`${label} ${index}: tell me about the river`);

function ask(prompt: string): ReplayedRequest {
  return { model, prompt, outputTokens: 150, sloClass: 'default' };
}

describe('a pool with a prefill instance', () => {
  let fleet: Fleet;
  let gate: BusGate;
  let streams: Streams;
  beforeAll(async () => {
    fleet = await startFleet({
      pools: [{ ...pool, prefillInstances: 1 }],
      settings: { 'migration-coordinator': { mode: 'off' } },
      busThrough: {
        'agent-chat-1': async (natsAddress) => {
          gate = await startBusGate(natsAddress);
          return gate.address;
        },
      },
    });
    streams = connectStreams(fleet.gatewayUrl);
  }, 120_000);
  afterAll(async () => {
    await streams?.close();
    await fleet?.stop();
    await gate?.close();
  });

  const many = (count: number, label: string, kind = long) => Array.from({ length: count }, (_, index) => streams.open(kind(label, index)));
  async function rowsOf(results: readonly ReplayResult[]): Promise<RequestRow[]> {
    const rows = await fleet.requests(true);
    return results.map(({ requestId }) => rows.find(({ id }) => id === requestId)!);
  }
  const nothingIsHeld = () =>
    eventually('every block is free and nothing is reserved', 30_000, async () => {
      const seen = await fleet.instances();
      const free = seen.every((row) => row.running === 0 && row.queued === 0 && row.reservedBlocks === 0 && row.freeBlocks === row.totalBlocks);
      return { ok: free && seen.length === 3 && seen.every(({ health }) => health === 'healthy'), seen };
    });
  const running = (label: string, count: number) =>
    eventually(`${count} requests run (${label})`, 30_000, async () => {
      const rows = (await fleet.requests()).filter(({ state }) => state === 'streaming');
      return { ok: rows.length >= count, seen: rows.length };
    });

  it('computes long prompts on one instance and goes on with them on the others, token-exact', async () => {
    expect((await fleet.instances()).map(({ id, role }) => [id, role])).toEqual([
      ['chat-1', 'prefill'],
      ['chat-2', 'decode'],
      ['chat-3', 'decode'],
    ]);
    const [longs, shorts] = await Promise.all([Promise.all(many(24, 'all is well')), Promise.all(many(12, 'in short', short))]);
    expect(problems([...longs, ...shorts])).toEqual([]);
    const [longRows, shortRows] = [await rowsOf(longs), await rowsOf(shorts)];
    expect(longRows.map(({ migrations, failovers }) => [migrations, failovers])).toEqual(longs.map(() => [1, 0]));
    expect(shortRows.map(({ migrations, failovers }) => [migrations, failovers])).toEqual(shorts.map(() => [0, 0]));
    expect(new Set([...longRows, ...shortRows].map(({ instance }) => instance))).toEqual(new Set(['chat-2', 'chat-3']));
    const { decisions } = await fleet.client('test').get<Explanation>(`/explain/${longs[0]!.requestId}`);
    expect(decisions).toMatchObject([{ instanceId: 'chat-1', handOffInstanceId: longRows[0]!.instance, rolesReason: 'pair' }]);
    await nothingIsHeld();
  }, 120_000);

  /** A hand-off as it is seen from the prefill agent. */
  const stages: Readonly<Record<string, (message: GateMessage) => boolean>> = {
    'reservation asked for': is('sent', contracts.reserve),
    'reserved, answer under way': is('answered', contracts.reserve),
    'hand-over asked for': is('sent', contracts.handOff),
    'committed, answer under way': is('answered', contracts.handOff),
  };

  it.each([
    ['prefill', Object.keys(stages)],
    ['decode', Object.keys(stages)],
  ])(
    'kill -9 of the %s agent in the middle of hand-offs: every request ends token-exact, nothing stays reserved',
    async (who, names) => {
      for (const name of names) {
        await nothingIsHeld();
        const hold = gate.hold(stages[name]!);
        const answers = many(8, `${who} ${name}`);
        await hold.reached;
        // Those of the other decode instance are held as well, and go on.
        const victim = who === 'prefill' ? 'agent-chat-1' : 'agent-chat-2';
        await fleet.kill(victim);
        hold.letGo();
        fleet.start(victim);
        const results = await Promise.all(answers);
        expect(problems(results), `${who} killed: ${name}`).toEqual([]);
        const rows = await rowsOf(results);
        console.log(
          `${who} killed, ${name}: ${rows.map(({ migrations, failovers }) => `${migrations}/${failovers}`).join(' ')} hand-offs/fail-overs`,
        );
      }
      await nothingIsHeld();
    },
    300_000,
  );

  it('a refused reservation, a lost answer, a cut bus: requests decode on where they are, or where they were committed', async () => {
    const refused = {
      refusal: { code: 'target_full', message: 'full', retryable: true, retryAfterMs: 500 },
      kvAddress: '',
      transferToken: '',
      address: '',
    };
    gate.rewrite((message) =>
      is('answered', contracts.reserve)(message) ? Buffer.from(ReserveReply.encode({ ...refused, meta: metaOf(message) })) : message.payload,
    );
    const stayed = await Promise.all(many(6, 'refused'));
    gate.rewrite(({ payload }) => payload);
    expect(problems(stayed)).toEqual([]);
    expect((await rowsOf(stayed)).map(({ instance, migrations, failovers }) => [instance, migrations, failovers])).toEqual(
      stayed.map(() => ['chat-1', 0, 0]),
    );

    // The answers come too late: what became of each is asked for, and it has moved.
    const late = gate.hold(is('answered', contracts.handOff));
    const moved = await Promise.all(many(6, 'unanswered'));
    late.letGo();
    expect(problems(moved)).toEqual([]);
    expect((await rowsOf(moved)).map(({ migrations, failovers }) => [migrations, failovers])).toEqual(moved.map(() => [1, 0]));

    const answers = many(6, 'cut off');
    await running('before the bus is cut', 1);
    const cut = gate.hold(() => true);
    const results = await Promise.all(answers);
    cut.letGo();
    expect(problems(results)).toEqual([]);
    await nothingIsHeld();
  }, 120_000);
});

const [, llama] = await movingEngines();
describe.runIf(llama)('a pool of llama.cpp engines with a prefill instance', () => {
  const count = 8;
  let fleet: Fleet;
  let streams: Streams;
  const router = (disaggregateFromTokens: number) => ({ profile: { disaggregateFromTokens } });
  beforeAll(async () => {
    fleet = await startFleet({
      pools: [{ id: 'chat', instances: 2, max: 2, prefillInstances: 1, ...llama!.pool }],
      // The model's states are small: they are followed all the same.
      settings: { agent: { ...llama!.agentSettings, followFromBytes: 0 }, router: router(100_000), 'migration-coordinator': { mode: 'off' } },
    });
    streams = connectStreams(fleet.gatewayUrl);
    // Answers that nobody has moved.
    await llama!.learn(fleet.gatewayUrl, '', count);
  }, 240_000);
  afterAll(async () => {
    await streams?.close();
    await fleet?.stop();
  });

  it('goes on at the other one with the very tokens, while the source says more', async () => {
    fleet.configure('router', router(16));
    await eventually('the router takes the setting', 10_000, () => ({
      ok: fleet.log('router-1').includes('settings'),
      seen: fleet.log('router-1').slice(-500),
    }));
    const results = await Promise.all(Array.from({ length: count }, (_, index) => streams.open(llama!.request('', index))));
    expect(problems(results)).toEqual([]);
    const rows = await fleet.requests(true);
    const moved = results.map(({ requestId }) => rows.find(({ id }) => id === requestId)!);
    expect(moved.map(({ instance, migrations, failovers }) => [instance, migrations, failovers])).toEqual(results.map(() => ['chat-2', 1, 0]));
  }, 120_000);
});

function is(way: GateMessage['way'], { pattern }: { readonly pattern: string }): (message: GateMessage) => boolean {
  return (message) => message.way === way && matches(pattern, message.subject);
}

function metaOf({ payload }: GateMessage): ReserveReply['meta'] {
  return ReserveReply.decode(payload).meta ?? null;
}
