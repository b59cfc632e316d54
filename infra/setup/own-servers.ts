// Asks servers that run already what they serve, for `SWITCHYARD_ENGINES=http://a:8000,http://b:8000 npm start`.
import type { OwnServer } from './engine-fleet.ts';
import type { Progress } from './progress.ts';

const answerTimeoutMs = 5_000;
const maxServers = 64;

/** Addresses out of a list with commas, without a slash or /v1 at the end. @throws Error that says which is none */
export function serverAddresses(text: string): string[] {
  const parts = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
  const urls = parts.map((part) => {
    let url: URL;
    try {
      url = new URL(part);
    } catch {
      throw new Error(`${part} is not an address: it should look like http://127.0.0.1:8000`);
    }
    if (!/^https?:$/.test(url.protocol)) throw new Error(`${part} is not an address: it has to begin with http:// or https://`);
    return `${url.origin}${url.pathname.replace(/\/+$/, '').replace(/\/v1$/, '')}`;
  });
  if (urls.length > maxServers) throw new Error(`${urls.length} servers are more than the ${maxServers} that one machine's agents are for`);
  const twice = urls.find((url, index) => urls.indexOf(url) !== index);
  if (twice !== undefined) throw new Error(`${twice} is there twice`);
  return urls;
}

/** What each server lists at /v1/models. @throws Error that names every server that cannot be used, and why */
export async function askServers(urls: readonly string[], apiKey: string | undefined, progress: Progress): Promise<OwnServer[]> {
  const step = progress.step('engines', `asking ${urls.length === 1 ? urls[0] : `${urls.length} servers`} what they serve`);
  const outcomes = await Promise.allSettled(urls.map((url) => askServer(url, apiKey)));
  const failures = outcomes.flatMap((outcome, index) =>
    outcome.status === 'rejected' ? [`  ${urls[index]}: ${(outcome.reason as Error).message}`] : [],
  );
  if (failures.length > 0) {
    step.failed(`${failures.length} of ${urls.length} cannot be used`);
    throw new Error(`SWITCHYARD_ENGINES names servers that cannot be used:\n${failures.join('\n')}\nStart them first, or correct the list.`);
  }
  const found = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  step.done(`${urls.length} servers with ${[...new Set(found.flatMap(({ models }) => models))].join(', ')}`);
  return found;
}

async function askServer(url: string, apiKey: string | undefined): Promise<OwnServer> {
  let response: Response;
  try {
    response = await fetch(`${url}/v1/models`, {
      headers: apiKey ? { authorization: `Bearer ${apiKey}` } : {},
      signal: AbortSignal.timeout(answerTimeoutMs),
    });
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : (error as Error).message;
    throw new Error(`no answer (${cause})`);
  }
  if (response.status === 401 || response.status === 403) throw new Error('it wants a key: set SWITCHYARD_ENGINES_API_KEY');
  if (!response.ok) throw new Error(`GET /v1/models answers ${response.status}`);
  const body = (await response.json().catch(() => undefined)) as { data?: { id?: unknown }[] } | undefined;
  const models = (Array.isArray(body?.data) ? body.data : []).flatMap(({ id }) => (typeof id === 'string' && id !== '' ? [id] : []));
  if (models.length === 0) throw new Error('GET /v1/models lists no model');
  return { url, models };
}
