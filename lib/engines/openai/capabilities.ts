// Asks a server what it is and what it can do. Nothing is taken on trust that a tiny request can show: whether streams bring
// token ids, whether a prompt may be ids, whether chats are rendered.
import { refusal } from '../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../proto/gen/messages.ts';
import { asFields, readSaid, type Said } from './chunk.ts';
import { type Fields, jsonOf, type ServerClient } from './client.ts';
import { askWithinMs, type Dialect } from './dialects/dialect.ts';
import { dialects } from './dialects/dialects.ts';
import { cacheFacts } from './dialects/vllm.ts';
import { readSamples } from './exposition.ts';
import { type ServerFacts, type ServerKind, unknownServer } from './facts.ts';
import { SseParser } from './sse.ts';

/** A first request may be slow: the server compiles, or loads. */
const firstTokenWithinMs = 30_000;
const tiny = { max_tokens: 1, temperature: 0 };

export interface ProbeOptions {
  readonly client: ServerClient;
  /** `auto`: found out. */
  readonly kind: ServerKind | 'auto';
  /** Undefined: what it lists first. */
  readonly model: string | undefined;
}

/** Refused: `engine_error` (no OpenAI API, wrong key, another model), `engine_unavailable` (loading). @throws SwitchyardError `unreachable` | `timeout` */
export async function probeServer({ client, kind, model: wanted }: ProbeOptions): Promise<ServerFacts | Refusal> {
  const listed = await client.get('/v1/models', askWithinMs);
  const models = jsonOf(listed)?.data;
  if (listed.status === 401 || listed.status === 403)
    return refusal('engine_error', `${client.url} wants an API key (${listed.status}): name its variable in apiKeyEnv of the pool's openai section`);
  if (listed.status === 503) return refusal('engine_unavailable', `${client.url} is not ready yet (503)`, 1_000);
  if (!Array.isArray(models) || models.length === 0)
    return refusal(
      'engine_error',
      `${client.url}/v1/models answers ${listed.status} without a list of models: is this the address of a server with the OpenAI API?`,
    );
  const rows = models.map((row) => asFields(row) ?? {});
  const names = rows.flatMap((row) => [row.id, ...(Array.isArray(row.aliases) ? row.aliases : [])]).filter((name) => typeof name === 'string');
  const model = wanted ?? String(rows[0]!.id);
  if (!names.includes(model)) {
    const has = names.slice(0, 8).join(', ');
    return refusal('engine_error', `${client.url} serves ${has}, not ${model}: set model in the pool's openai section to one of them`);
  }
  const row = rows.find(({ id }) => id === model) ?? rows[0]!;
  const dialect = dialects[kind === 'auto' ? await kindOf(client, row) : kind];
  const asked = await dialect.ask(client, model);
  const [metrics, completions, chat] = [
    await readMetrics(client, dialect),
    await tryCompletions(client, dialect, model),
    await tryChat(client, dialect, model),
  ];
  if (!completions && !chat)
    return refusal('engine_error', `${client.url} lists ${model}, but answers neither /v1/chat/completions nor /v1/completions with a token`);
  const takesIds = asked.takesIds ?? (completions?.promptIds ? await takesPrompt(client, model, completions.promptIds) : false);
  return {
    ...unknownServer,
    contextTokens: contextOf(row),
    ...metrics,
    ...asked,
    kind: dialect.kind,
    model,
    takesIds,
    tokenIds: { chat: chat?.ids === true, completions: completions?.ids === true },
    streamOptions: completions?.usage === true || chat?.usage === true,
  };
}

async function kindOf(client: ServerClient, row: Fields): Promise<ServerKind> {
  if (row.owned_by === 'vllm') return 'vllm';
  if (row.owned_by === 'sglang') return 'sglang';
  if (row.owned_by === 'llamacpp') return 'llama-server';
  const props = await client.getJson('/props', askWithinMs);
  if (props?.build_info !== undefined) return 'llama-server';
  const sglang = (await client.getJson('/get_server_info', askWithinMs)) ?? (await client.getJson('/server_info', askWithinMs));
  if (sglang?.max_total_num_tokens !== undefined || sglang?.internal_states !== undefined) return 'sglang';
  const { body } = await client.get('/metrics', askWithinMs);
  return /^vllm:/m.test(body.toString()) ? 'vllm' : 'generic';
}

function contextOf(row: Fields): number | undefined {
  const found = Number(row.max_model_len ?? asFields(row.meta)?.n_ctx);
  return found > 0 ? found : undefined;
}

async function readMetrics(client: ServerClient, dialect: Dialect): Promise<Partial<ServerFacts>> {
  if (dialect.metricNames.length === 0) return {};
  const { status, body } = await client.get('/metrics', askWithinMs);
  const samples = readSamples(body.toString(), new Set(dialect.metricNames));
  if (status !== 200 || samples.size === 0) return { metrics: false };
  return { metrics: true, ...(dialect.kind === 'vllm' ? cacheFacts(samples) : {}) };
}

interface Tried {
  readonly ids: boolean;
  readonly usage: boolean;
  readonly promptIds: readonly number[] | undefined;
}

const tryCompletions = (client: ServerClient, dialect: Dialect, model: string) =>
  tryStream(client, dialect, '/v1/completions', { model, prompt: 'Hi' });
const tryChat = (client: ServerClient, dialect: Dialect, model: string) =>
  tryStream(client, dialect, '/v1/chat/completions', { model, messages: [{ role: 'user', content: 'Hi' }] });

/** One token, with all extensions; without ids, without any, when the server does not take them. Undefined: it gives no token at all. */
async function tryStream(client: ServerClient, dialect: Dialect, path: string, body: Fields): Promise<Tried | undefined> {
  const usage = { stream_options: { include_usage: true } };
  const wishes = [...(dialect.asksForIds ? [{ ...usage, ...idsWish(dialect, path) }] : []), usage, {}];
  for (const wish of wishes) {
    const { status, body: bytes } = await client.post(path, { ...body, ...tiny, stream: true, ...wish }, firstTokenWithinMs);
    if (status === 404 || status === 405 || status === 501) return undefined;
    if (status !== 200) continue;
    const said = new SseParser().push(bytes).map(({ bytes: event, dataStart, dataEnd }) => readSaid(event.toString('utf8', dataStart, dataEnd)));
    const chunks = said.filter((chunk): chunk is Said => chunk !== undefined && chunk.error === undefined);
    if (!chunks.some(({ choices }) => choices.some(({ finishReason }) => finishReason !== ''))) continue;
    return {
      ids: chunks.some(({ choices }) => choices.some(({ tokenIds }) => tokenIds !== undefined && tokenIds.length > 0)),
      usage: chunks.some((chunk) => chunk.usage !== undefined),
      promptIds: chunks.find(({ promptIds }) => promptIds)?.promptIds,
    };
  }
  return undefined;
}

function idsWish({ kind }: Dialect, path: string): Fields {
  if (kind !== 'llama-server') return { return_token_ids: true };
  return path.includes('/chat/') ? { logprobs: true, top_logprobs: 1 } : { logprobs: 1 };
}

async function takesPrompt(client: ServerClient, model: string, prompt: readonly number[]): Promise<boolean> {
  return (await client.post('/v1/completions', { model, prompt, ...tiny }, firstTokenWithinMs)).status === 200;
}
