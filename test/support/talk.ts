// A client for these tests: one request to a gateway or straight to a server, read chunk by chunk, with the time of each.

export interface Talk {
  /** Of the gateway; empty when asked of a server. */
  requestId: string;
  /** Of chunks with tokens: their ids, and when they came. */
  readonly tokenIds: number[];
  readonly atMs: number[];
  text: string;
  toolArguments: string;
  finishReason: string;
  usage: { prompt_tokens: number; completion_tokens: number } | undefined;
  error: string;
  readonly chunks: Record<string, unknown>[];
  /** The stream ended with [DONE]. */
  done: boolean;
  readonly ended: Promise<void>;
  leave(): void;
}

interface Chunk {
  readonly error?: { readonly message: string };
  readonly usage?: Talk['usage'] | null;
  readonly choices?: readonly {
    readonly text?: string;
    readonly delta?: { readonly content?: string; readonly tool_calls?: readonly { readonly function?: { readonly arguments?: string } }[] };
    readonly token_ids?: readonly number[] | null;
    readonly finish_reason?: string | null;
  }[];
}

/** Streams; resolves when the response has begun. */
export async function talk(url: string, path: '/v1/chat/completions' | '/v1/completions', body: object): Promise<Talk> {
  const control = new AbortController();
  const response = await fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal: control.signal,
  });
  const said: Talk = {
    ...{ requestId: response.headers.get('x-switchyard-request-id') ?? '', tokenIds: [], atMs: [], text: '', toolArguments: '' },
    ...{ finishReason: '', usage: undefined, error: '', chunks: [], done: false },
    ended: Promise.resolve(),
    leave: () => control.abort(),
  };
  const read = async () => {
    if (!response.ok || !response.body) {
      said.error = `${response.status} ${await response.text()}`;
      return;
    }
    let rest = '';
    try {
      for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
        rest += part;
        for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
          take(said, rest.slice(0, end).replace(/^data: /, ''));
          rest = rest.slice(end + 2);
        }
      }
    } catch (thrown) {
      if (!control.signal.aborted) said.error = String(thrown);
    }
  };
  return Object.assign(said, { ended: read() });
}

function take(said: Talk, data: string): void {
  if (data === '[DONE]') {
    said.done = true;
    return;
  }
  const chunk = JSON.parse(data) as Chunk;
  said.chunks.push(chunk as Record<string, unknown>);
  if (chunk.error) said.error = chunk.error.message;
  if (chunk.usage) said.usage = chunk.usage;
  for (const { text, delta, token_ids, finish_reason } of chunk.choices ?? []) {
    said.text += text ?? delta?.content ?? '';
    for (const call of delta?.tool_calls ?? []) said.toolArguments += call.function?.arguments ?? '';
    if (finish_reason) said.finishReason = finish_reason;
    if (token_ids && token_ids.length > 0) {
      said.tokenIds.push(...token_ids);
      said.atMs.push(performance.now());
    }
  }
}

/** The same request, heard to its end. */
export async function heard(url: string, path: Parameters<typeof talk>[1], body: object): Promise<Talk> {
  const said = await talk(url, path, body);
  await said.ended;
  return said;
}

/** Without streaming. */
export async function answer(url: string, path: string, body?: object): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(
    url + path,
    body ? { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) } : undefined,
  );
  const text = await response.text();
  try {
    return { status: response.status, body: JSON.parse(text) as Record<string, unknown> };
  } catch {
    return { status: response.status, body: { text } };
  }
}
