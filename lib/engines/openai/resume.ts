// How a request that another instance has begun goes on here: from its tokens where both servers know them, from its text where
// that is all there is, or not at all.
import { crc32 } from 'node:zlib';
import { refusal } from '../../../core/errors/switchyard-error.ts';
import { edited } from '../../../core/openai/edit-json.ts';
import type { Refusal } from '../../../proto/gen/messages.ts';
import type { Answer } from '../../http/ask.ts';
import type { GenerateRequest } from '../../ports/engines.ts';
import { type Fields, jsonOf, type ServerClient } from './client.ts';
import { continuesTokens, type ServerFacts } from './facts.ts';
import { paths, restFromText, restFromTokens } from './request-bytes.ts';

export interface Rest {
  readonly body: Uint8Array;
  readonly path: string;
  /** Undefined: it goes on from text. */
  readonly promptIds: readonly number[] | undefined;
}

const tokenizeWithinMs = 10_000;

/** Refused: `cannot_continue`, or why the server does not say what the prompt is. @throws SwitchyardError `unreachable` | `timeout` */
export async function restOf(client: ServerClient, facts: ServerFacts, request: GenerateRequest, fields: Fields): Promise<Rest | Refusal> {
  const phase = request.carry?.phase ?? 'answer';
  if (!request.clientStreams) return cannot('the answer of a client that does not stream comes in one piece');
  if (phase === 'reasoning') return cannot('it was cut in the middle of its reasoning, which only the server that began it can tell from the answer');
  if (phase === 'tools') return cannot('it was cut in the middle of a tool call, which only the server that began it can read');
  const known = request.resumeTokenIds.length === request.nextIndex;
  if (known && (continuesTokens(facts) || (facts.takesIds && hasIdsAsPrompt(request, fields)))) return fromTokens(client, facts, request, fields);
  const body = restFromText(request, fields, facts);
  if (!body)
    return cannot(known ? `${client.url} cannot go on from token ids` : `its token ids are not known, and ${client.url} cannot go on from its text`);
  return { body, path: paths[pathOf(request)], promptIds: undefined };
}

async function fromTokens(client: ServerClient, facts: ServerFacts, request: GenerateRequest, fields: Fields): Promise<Rest | Refusal> {
  const promptIds = await promptOf(client, facts, request, fields);
  if ('code' in promptIds) return promptIds;
  const { carry } = request;
  if (carry && carry.promptTokens > 0 && (carry.promptTokens !== promptIds.length || carry.promptCrc !== crcOf(promptIds)))
    return cannot(`${client.url} reads its prompt as other tokens than the server that began it: are model, chat template and version the same?`);
  return { body: restFromTokens(request, fields, facts, promptIds), path: paths.completions, promptIds };
}

/**
 * The same bytes are the same tokens on the same model, so nobody has to keep them. Refused: `cannot_continue`.
 * @throws SwitchyardError `unreachable` | `timeout`
 */
export async function promptOf(
  client: ServerClient,
  facts: ServerFacts,
  request: GenerateRequest,
  fields: Fields,
): Promise<readonly number[] | Refusal> {
  if (hasIdsAsPrompt(request, fields)) return fields.prompt as number[];
  const path = facts.tokenizePath;
  const body = edited(request.body, { model: { set: JSON.stringify(facts.model) } });
  const answer = path === '/apply-template' ? await tokenizeText(client, request, fields, body) : await client.post(path, body, tokenizeWithinMs);
  const ids = answer && jsonOf(answer)?.tokens;
  if (Array.isArray(ids) && ids.length > 0) return ids as number[];
  return cannot(`${client.url}${path} answers ${answer?.status ?? 'nothing'} without token ids`);
}

/** llama-server makes a chat a text first. */
async function tokenizeText(client: ServerClient, request: GenerateRequest, { prompt }: Fields, body: Uint8Array): Promise<Answer | undefined> {
  const only = Array.isArray(prompt) && prompt.length === 1 ? prompt[0] : prompt;
  const content = pathOf(request) === 'chat' ? jsonOf(await client.post('/apply-template', body, tokenizeWithinMs))?.prompt : only;
  if (typeof content !== 'string') return undefined;
  return client.post('/tokenize', { content, add_special: true, parse_special: true }, tokenizeWithinMs);
}

function hasIdsAsPrompt(request: GenerateRequest, { prompt }: Fields): boolean {
  return pathOf(request) === 'completions' && Array.isArray(prompt) && typeof prompt[0] === 'number';
}

function pathOf(request: GenerateRequest): 'chat' | 'completions' {
  return request.endpoint === 'completions' ? 'completions' : 'chat';
}

function cannot(why: string): Refusal {
  return refusal('cannot_continue', `the request cannot go on here: ${why}`);
}

/** Of token ids, four bytes each, little endian. */
export function crcOf(ids: readonly number[]): number {
  const bytes = Buffer.allocUnsafe(ids.length * 4);
  ids.forEach((id, index) => {
    bytes.writeUInt32LE(id, index * 4);
  });
  return crc32(bytes);
}
