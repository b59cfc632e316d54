// What is tried on two real vLLM servers behind a real Switchyard. Each check says what it saw; one that fails throws.
import assert from 'node:assert/strict';
import { CommandFailure } from '../../cli/client.ts';
import { percentile } from '../../core/workload/percentiles.ts';
import type { Explanation, InstanceRow, MigrationsReport, MoveAnswer } from '../../lib/operator/types.ts';
import { eventually } from '../support/eventually.ts';
import type { Fleet } from '../support/fleet.ts';
import { answer, heard, type Talk, talk } from '../support/talk.ts';
import type { VllmServer } from './vllm-server.ts';

export interface World {
  readonly fleet: Fleet;
  /** chat-1 and chat-2. */
  readonly servers: readonly [VllmServer, VllmServer];
  /** Another fleet with the same servers: the first prefills, the second decodes. */
  byRole(): Promise<Fleet>;
}

export interface Check {
  readonly name: string;
  run(world: World): Promise<string>;
}

const chat = '/v1/chat/completions';
const completions = '/v1/completions';
const greedy = { model: 'tiny', temperature: 0, ignore_eos: true };
const pathOf = (round: number): typeof chat | typeof completions => (round % 2 === 0 ? chat : completions);
let asked = 0;

/** A prompt that nobody has asked before: about a token for each word. */
function prompt(words: number): string {
  const some = ['people', 'water', 'story', 'early', 'river', 'paper', 'music', 'north'];
  asked += 1;
  return `${asked} ${Array.from({ length: words }, (_, index) => some[(index * (asked + 3) + (index >> 3)) % some.length]).join(' ')}`;
}

function ask(path: string, text: string, maxTokens: number) {
  const content = path === chat ? { messages: [{ role: 'user', content: text }] } : { prompt: text };
  return { ...greedy, ...content, max_tokens: maxTokens };
}

export const checks: readonly Check[] = [
  { name: 'what the servers are', run: capabilities },
  { name: 'chat', run: (world) => whole(world, chat) },
  { name: 'completions', run: (world) => whole(world, completions) },
  { name: 'streaming', run: streaming },
  { name: 'tools passthrough', run: tools },
  { name: 'abort within 100 ms', run: aborts },
  { name: 'pause seen', run: pauses },
  { name: 'metrics mapped', run: metrics },
  { name: 'KV events', run: kvEvents },
  { name: 'dangerous request', run: dangerous },
  { name: 'NIXL migration, 20 of 20', run: migrations },
  { name: 'P/D by role', run: prefillAndDecode },
  { name: 'fail-over after kill -9', run: failover },
];

async function row(world: World, id: string): Promise<InstanceRow> {
  const found = (await world.fleet.instances()).find((instance) => instance.id === id);
  assert(found, `no instance ${id}`);
  return found;
}

/** Each is asked when its agent starts, and answers when it gets the time to. */
async function capabilities(world: World): Promise<string> {
  const wanted = ['token_ids', 'recompute', 'metrics', 'prefix_cache', 'pause', 'prefill_decode', 'kv_pull', 'kv_events'];
  const said: string[] = [];
  for (const id of ['chat-1', 'chat-2']) {
    let seen: InstanceRow | undefined;
    await eventually(`${id} can do ${wanted.join(', ')}`, 60_000, async () => {
      seen = await row(world, id);
      return { ok: wanted.every((name) => seen!.capabilities.includes(name)), seen };
    });
    said.push(`${id}: ${seen!.software}: ${seen!.capabilities.join(', ')}`);
  }
  return said.join('; ');
}

async function whole({ fleet, servers }: World, path: string): Promise<string> {
  const body = ask(path, prompt(20), 30);
  const [ours, theirs] = [await answer(fleet.gatewayUrl, path, body), await answer(servers[0].url, path, body)];
  assert.equal(ours.status, 200, JSON.stringify(ours.body));
  const said = ({ body: { choices } }: typeof ours) => (choices as { text?: string; message?: { content: string } }[])[0]!;
  assert.equal(said(ours).message?.content ?? said(ours).text, said(theirs).message?.content ?? said(theirs).text);
  assert.deepEqual(Object.keys(ours.body).sort(), Object.keys(theirs.body).sort());
  const { prompt_tokens, completion_tokens } = ours.body.usage as { prompt_tokens: number; completion_tokens: number };
  return `the server's own text and fields; usage ${prompt_tokens} + ${completion_tokens}`;
}

async function streaming({ fleet, servers }: World): Promise<string> {
  for (const path of [chat, completions] as const) {
    const body = ask(path, prompt(20), 40);
    const [plain, asking, theirs] = [
      await heard(fleet.gatewayUrl, path, body),
      await heard(fleet.gatewayUrl, path, { ...body, return_token_ids: true }),
      await heard(servers[1].url, path, { ...body, return_token_ids: true }),
    ];
    assert.deepEqual([plain.text, asking.text, plain.error], [theirs.text, theirs.text, '']);
    assert.deepEqual(asking.tokenIds, theirs.tokenIds);
    assert.equal(plain.tokenIds.length, 0, 'token ids were told to a client that did not ask');
    assert(plain.done && plain.usage?.completion_tokens === 40, 'no end, or no usage');
  }
  return 'the same text and token ids as straight from a server; ids only when asked for';
}

async function tools({ fleet, servers }: World): Promise<string> {
  const parameters = { type: 'object', properties: { a: { type: 'boolean' } }, required: ['a'], additionalProperties: false };
  const body = {
    ...ask(chat, prompt(10), 60),
    tools: [{ type: 'function', function: { name: 'look', parameters } }],
    tool_choice: { type: 'function', function: { name: 'look' } },
  };
  const [ours, theirs] = [await heard(fleet.gatewayUrl, chat, body), await heard(servers[0].url, chat, body)];
  assert.equal(ours.error, '');
  assert.equal(ours.toolArguments, theirs.toolArguments);
  assert.equal(ours.finishReason, theirs.finishReason);
  const names = (said: Talk) => JSON.stringify(said.chunks).match(/"name":"[a-z]+"/g);
  assert.deepEqual(names(ours), names(theirs));
  return `arguments ${JSON.stringify(ours.toolArguments.slice(0, 40))} as straight from the server`;
}

/**
 * From the moment that the client leaves until the server says that it computes nothing. Asking it takes time too, which a busy
 * machine makes long: that is measured beside it, and taken off.
 */
async function aborts({ fleet, servers }: World): Promise<string> {
  const [questions, took]: [number[], number[]] = [[], []];
  const load = async () => {
    const beganMs = performance.now();
    const loads = await Promise.all(servers.map(async ({ url }) => Number((await answer(url, '/load')).body.server_load)));
    questions.push(performance.now() - beganMs);
    return loads.reduce((sum, one) => sum + one, 0);
  };
  for (let round = 0; round < 6; round++) {
    const stream = await talk(fleet.gatewayUrl, pathOf(round), { ...ask(pathOf(round), prompt(20), 1800), return_token_ids: true });
    await eventually('it streams', 60_000, () => ({ ok: stream.tokenIds.length >= 10, seen: stream.error }));
    assert.equal(await load(), 1);
    const leftMs = performance.now();
    stream.leave();
    while ((await load()) > 0) assert(performance.now() - leftMs < 5_000, 'the server goes on');
    took.push(performance.now() - leftMs);
  }
  const noted = `${took.length} streams, chat and completions: idle after ${took.map((ms) => Math.round(ms)).join(', ')} ms; a question to both servers takes ${Math.round(middle(questions))} ms of it`;
  assert(middle(took) - middle(questions) < 100, noted);
  return noted;
}

async function pauses(world: World): Promise<string> {
  const [{ url }] = world.servers;
  const askedMs = performance.now();
  await answer(url, '/pause?mode=keep', {});
  const pausedMs = performance.now();
  await eventually('chat-1 is set aside', 10_000, async () => ({
    ok: (await row(world, 'chat-1')).setAside !== '',
    seen: await row(world, 'chat-1'),
  }));
  const seenMs = performance.now() - pausedMs;
  for (let round = 0; round < 3; round++) assert.equal((await heard(world.fleet.gatewayUrl, chat, ask(chat, prompt(10), 5))).error, '');
  await answer(url, '/resume', {});
  await eventually('chat-1 takes requests again', 10_000, async () => ({
    ok: (await row(world, 'chat-1')).setAside === '',
    seen: await row(world, 'chat-1'),
  }));
  const tookMs = Math.round(pausedMs - askedMs);
  return `set aside ${Math.round(seenMs)} ms after POST /pause, which took ${tookMs} ms; requests answered by the other one, back after POST /resume`;
}

async function metrics(world: World): Promise<string> {
  const strangers = await Promise.all([1, 2, 3].map(() => talk(world.servers[0].url, completions, ask(completions, prompt(300), 1500))));
  let seen: InstanceRow | undefined;
  await eventually("three requests that are not Switchyard's are seen", 30_000, async () => {
    seen = await row(world, 'chat-1');
    return { ok: seen.running >= 3 && seen.freeBlocks < seen.totalBlocks, seen };
  });
  for (const stranger of strangers) stranger.leave();
  await eventually('and that they are gone', 30_000, async () => ({
    ok: (await row(world, 'chat-1')).running === 0,
    seen: await row(world, 'chat-1'),
  }));
  const { running, totalBlocks, freeBlocks, blockTokens } = seen!;
  return `${running} running of others, ${totalBlocks - freeBlocks} of ${totalBlocks} blocks of ${blockTokens} tokens in use`;
}

async function kvEvents(world: World): Promise<string> {
  const { fleet, servers } = world;
  const body = ask(completions, prompt(400), 5);
  const first = await heard(fleet.gatewayUrl, completions, body);
  const at = (await placeOf(world, first)).instanceId;
  await eventually('the router knows what is cached', 15_000, async () => {
    const { prefixBlocks } = await placeOf(world, await heard(fleet.gatewayUrl, completions, body), at);
    return { ok: prefixBlocks > 0 && (await row(world, at)).cachedBlocks > 0, seen: prefixBlocks };
  });
  const before = await row(world, at);
  // The server forgets, by itself: only its events can tell. They come with its next step.
  const server = servers[at === 'chat-1' ? 0 : 1];
  await answer(server.url, '/reset_prefix_cache', {});
  await answer(server.url, completions, { ...greedy, prompt: 'now', max_tokens: 2 });
  await eventually('the cleared cache is known', 15_000, async () => ({ ok: (await row(world, at)).cachedBlocks < 3, seen: await row(world, at) }));
  return `${before.cachedBlocks} blocks known at ${at}; after POST /reset_prefix_cache ${(await row(world, at)).cachedBlocks}`;
}

async function placeOf({ fleet }: World, said: Talk, at?: string): Promise<{ instanceId: string; prefixBlocks: number }> {
  let explained: Explanation | undefined;
  await eventually('the decision is written', 5_000, async () => {
    explained = await fleet.client('test').get<Explanation>(`/explain/${said.requestId}`);
    return { ok: explained.decisions.length > 0, seen: explained };
  });
  const { instanceId, candidates } = explained!.decisions[0]!;
  return { instanceId, prefixBlocks: candidates.find((one) => one.instanceId === (at ?? instanceId))?.input?.prefixBlocks ?? 0 };
}

/** With a valid engine id and made-up blocks a request ends the engine that it reaches. */
async function dangerous({ fleet, servers }: World): Promise<string> {
  const given = await answer(servers[0].url, completions, {
    ...ask(completions, prompt(80), 1),
    kv_transfer_params: { do_remote_decode: true, do_remote_prefill: false },
  });
  const real = given.body.kv_transfer_params as Record<string, unknown>;
  assert(real?.remote_engine_id, 'the server has no connector');
  const made = { ...real, remote_block_ids: [[9_000_001, 9_000_002, 9_000_003]], remote_request_id: 'made-up' };
  for (const path of [completions, chat] as const) {
    const said = await heard(fleet.gatewayUrl, path, { ...ask(path, prompt(80), 5), kv_transfer_params: made, priority: -7 });
    assert.equal(said.error, '');
    assert.equal(said.usage?.completion_tokens, 5);
  }
  for (const { url, name } of servers) assert.equal((await fetch(`${url}/health`)).status, 200, `server ${name} is ill`);
  return 'answered without it, on both endpoints; both servers well';
}

const rounds = 20;
/** Enough for a stream to be still running when it has moved. */
const movedTokens = 400;

async function migrations(world: World): Promise<string> {
  const { servers } = world;
  const fetchedBefore = await fetched(servers);
  const wrong: string[] = [];
  const gaps: number[] = [];
  const steps: number[] = [];
  let early = 0;
  for (let round = 0; round < rounds && early < rounds; round++) {
    const moved = await moveOnce(world, round);
    // It had said its last token before the move began, or was planned by a report that had it in prefill: nothing was tried.
    if (!moved) {
      round--;
      early++;
      continue;
    }
    const { stream, ended, path, body } = moved;
    // Only now, so that neither server has the rest in its cache.
    const reference = await heard(servers[0].url, path, body);
    const told = `round ${round} (${path}): `;
    if (ended.outcome !== 'committed') wrong.push(`${told}${ended.outcome} ${ended.code}`);
    else if (ended.mode !== 'pull') wrong.push(`${told}moved by ${ended.mode}`);
    else if (stream.error) wrong.push(told + stream.error);
    else if (stream.tokenIds.join() !== reference.tokenIds.join())
      wrong.push(`${told}differs at ${firstDifference(stream.tokenIds, reference.tokenIds)}`);
    else if (stream.text !== reference.text) wrong.push(`${told}the same tokens, another text`);
    gaps.push(ended.downtimeMs);
    steps.push((stream.atMs.at(-1)! - stream.atMs[0]!) / Math.max(1, stream.tokenIds.length - 1));
  }
  const pulled = (await fetched(servers)) - fetchedBefore;
  const stillMs = `${Math.round(middle(gaps))} ms (p50), ${Math.round(Math.max(...gaps))} ms (max)`;
  const noted = `${gaps.length - wrong.length} of ${gaps.length} exact; ${pulled} prompt tokens fetched from the other server; still for ${stillMs}; a token takes ${middle(steps).toFixed(1)} ms; ${early} not counted: ended too early, or planned from a report that had them in prefill`;
  assert.deepEqual(wrong, [], noted);
  assert(gaps.length === rounds && pulled > rounds * 40, noted);
  return noted;
}

type Ended = MigrationsReport['recent'][number];

async function moveOnce(
  { fleet }: World,
  round: number,
): Promise<{ stream: Talk; ended: Ended; path: typeof chat | typeof completions; body: object } | undefined> {
  const operator = fleet.client('test');
  const path = pathOf(round);
  const body = { ...ask(path, prompt(40 + 12 * round), movedTokens), return_token_ids: true };
  const stream = await talk(fleet.gatewayUrl, path, body);
  await eventually('it streams', 60_000, () => ({ ok: stream.tokenIds.length >= 10 + 3 * round, seen: stream.error || stream.tokenIds.length }));
  let ended: Ended | undefined;
  let planned = '';
  try {
    const { plan } = await operator.post<MoveAnswer>('/migrate', { request: stream.requestId, to: '' });
    planned = plan.mode;
    await eventually(`move ${round} ends`, 60_000, async () => {
      ended = (await operator.get<MigrationsReport>('/migrations')).recent.find(({ migrationId }) => migrationId === plan.migrationId);
      return { ok: ended !== undefined, seen: plan };
    });
  } catch (thrown) {
    if (!(thrown instanceof CommandFailure)) throw thrown;
  }
  await stream.ended;
  const isEarly = !ended || planned === 'recompute' || ended.code === 'unknown_request' || ended.code === 'sequence_finished';
  return isEarly ? undefined : { stream, ended: ended!, path, body };
}

const pairs = 10;

/** The same servers in a fleet of their own, where the first computes prompts and the second goes on. */
async function prefillAndDecode(world: World): Promise<string> {
  const { servers } = world;
  const fleet = await world.byRole();
  try {
    const fetchedBefore = await fetched(servers);
    const asked = Array.from({ length: pairs }, (_, round) => {
      const path = pathOf(round);
      return { path, body: { ...ask(path, prompt(80 + 40 * round), 150), return_token_ids: true } };
    });
    const streams: Talk[] = [];
    // Two at a time.
    for (let first = 0; first < pairs; first += 2) {
      const two = await Promise.all(asked.slice(first, first + 2).map(({ path, body }) => talk(fleet.gatewayUrl, path, body)));
      await Promise.all(two.map(({ ended }) => ended));
      streams.push(...two);
    }
    const rows = await fleet.requests(true);
    const wrong: string[] = [];
    let handedOver = 0;
    let direct = 0;
    for (const [round, { path, body }] of asked.entries()) {
      const stream = streams[round]!;
      const { instance, migrations: moves, failovers } = rows.find(({ id }) => id === stream.requestId)!;
      // From the server that computed the prompt and no more.
      const reference = await heard(servers[0].url, path, body);
      const told = `round ${round} (${path}): `;
      if (stream.error) wrong.push(told + stream.error);
      else if (failovers !== 0) wrong.push(`${told}ended at ${instance} after ${moves} moves, ${failovers} fail-overs`);
      else if (stream.tokenIds.join() !== reference.tokenIds.join())
        wrong.push(`${told}differs at ${firstDifference(stream.tokenIds, reference.tokenIds)}`);
      else if (stream.text !== reference.text) wrong.push(`${told}the same tokens, another text`);
      handedOver += moves;
      if (moves === 0 && instance === 'chat-2') direct++;
    }
    const stayed = [...fleet.log('agent-chat-1').matchAll(/stays where its prompt was computed.*/g)].map(([line]) => line.replaceAll(/\s+/g, ' '));
    const pulled = (await fetched(servers)) - fetchedBefore;
    const longest = streams.map(({ atMs }) => Math.max(...atMs.slice(1).map((ms, index) => ms - atMs[index]!)));
    const noted = `${pairs - wrong.length} of ${pairs} token-exact, ${handedOver} computed by one server and gone on at the other, ${direct} computed where they are decoded, ${stayed.length} kept ${stayed.join('; ')}; ${pulled} prompt tokens fetched; longest wait between two tokens ${Math.round(middle(longest))} ms (p50), ${Math.round(Math.max(...longest))} ms (max)`;
    assert.deepEqual(wrong, [], noted);
    // A busy machine may keep some where they are, and a server that is late to report gets no prompts: allowed, and not to be seen in a token.
    assert(handedOver >= pairs / 2 && pulled > handedOver * 40, noted);
    return noted;
  } finally {
    await fleet.stop();
  }
}

function firstDifference(one: readonly number[], other: readonly number[]): string {
  const index = one.findIndex((id, at) => id !== other[at]);
  return `${index < 0 ? Math.min(one.length, other.length) : index} of ${one.length} and ${other.length}`;
}

/** Prompt tokens that servers have got from others, as they count them. */
async function fetched(servers: readonly VllmServer[]): Promise<number> {
  let sum = 0;
  for (const { url } of servers) {
    const text = await (await fetch(`${url}/metrics`)).text();
    for (const [, value] of text.matchAll(/^vllm:prompt_tokens_by_source_total\{[^}]*source="external_kv_transfer"[^}]*\} ([\d.e+]+)/gm))
      sum += Number(value);
  }
  return sum;
}

/** Last of all: one of the servers is gone afterwards. */
async function failover(world: World): Promise<string> {
  const { fleet, servers } = world;
  const bodies = [0, 1, 2, 3].map((round) => ({
    path: pathOf(round),
    body: { ...ask(pathOf(round), prompt(60 + 20 * round), 700), return_token_ids: true },
  }));
  const streams = await Promise.all(bodies.map(({ path, body }) => talk(fleet.gatewayUrl, path, body)));
  await eventually('all stream', 90_000, () => ({
    ok: streams.every(({ tokenIds }) => tokenIds.length >= 40),
    seen: streams.map(({ error }) => error),
  }));
  const rows = await fleet.requests();
  const there = streams.filter(({ requestId }) => rows.find(({ id }) => id === requestId)?.instance === 'chat-1').length;
  assert(there > 0, 'no stream is on chat-1');
  await servers[0].kill();
  await Promise.all(streams.map(({ ended }) => ended));
  const wrong: string[] = [];
  for (const [index, { path, body }] of bodies.entries()) {
    const reference = await heard(servers[1].url, path, body);
    const stream = streams[index]!;
    if (stream.error || !stream.done) wrong.push(`stream ${index}: ${stream.error || 'no end'}`);
    else if (stream.tokenIds.join() !== reference.tokenIds.join())
      wrong.push(`stream ${index}: differs at ${firstDifference(stream.tokenIds, reference.tokenIds)}`);
  }
  assert.deepEqual(wrong, []);
  return `${there} of ${streams.length} streams were on the killed server; all ${streams.length} token-exact to their end`;
}

function middle(values: readonly number[]): number {
  return percentile(
    [...values].sort((a, b) => a - b),
    0.5,
  );
}
