// HTTP of the gateway and of the operator API, through the twin of the server: paths, methods, headers, bodies. Every answer
// comes in time and every refusal looks as OpenAI's clients know it.
import type { MemoryReply } from '../../../lib/http/memory-http.ts';
import { type Chooser, oddNumbers, oddTexts } from '../chooser.ts';
import { count, type Entrance } from '../entrance.ts';
import type { Findings } from '../findings.ts';
import { consoleUrl, type FuzzedFleet, gatewayUrl, model, startFuzzedFleet } from '../fuzzed-fleet.ts';
import { mutateBytes } from '../mutate-bytes.ts';
import { mutateJson } from '../mutate-json.ts';
import { refusalProblem } from '../refusal-shape.ts';

interface Shot {
  readonly path: string;
  readonly method: string;
  readonly body?: unknown;
}

const chat = {
  model,
  stream: true,
  max_tokens: 2,
  max_completion_tokens: 2,
  stop: ['x'],
  n: 1,
  seed: 7,
  logprobs: false,
  temperature: 0.5,
  service_tier: 'auto',
  prompt_cache_key: 'k',
  stream_options: { include_usage: true },
  response_format: { type: 'text' },
  tools: [{ type: 'function', function: { name: 'f', parameters: {} } }],
  kv_transfer_params: { a: [1] },
  messages: [
    { role: 'system', content: 'be brief' },
    { role: 'user', content: [{ type: 'text', text: 'hello' }] },
  ],
};
const completion = { model, stream: false, max_tokens: 2, prompt: 'once', suffix: '', echo: false, best_of: 1, stop: null };

const gatewayShots: readonly Shot[] = [
  { path: '/v1/chat/completions', method: 'POST', body: chat },
  { path: '/v1/chat/completions', method: 'POST', body: { ...chat, stream: false } },
  { path: '/v1/completions', method: 'POST', body: completion },
  { path: '/v1/completions', method: 'POST', body: { ...completion, prompt: [1, 2, 3] } },
  { path: '/v1/models', method: 'GET' },
  { path: `/v1/models/${model}`, method: 'GET' },
  { path: '/health', method: 'GET' },
  { path: '/readiness', method: 'GET' },
];

const operatorShots: readonly Shot[] = [
  ...[
    'status',
    'services',
    'instances',
    'requests?all=true',
    'pools',
    'migrations',
    'audit?limit=3',
    'approvals',
    'keys',
    'explain/req-x',
    'trace/req-x',
    'workflows/w',
  ].map((path) => ({ path: `/operator/v1/${path}`, method: 'GET' })),
  { path: '/operator/v1/migrate', method: 'POST', body: { request: 'req-x', to: 'chat-2' } },
  { path: '/operator/v1/drain', method: 'POST', body: { instance: 'chat-7', withinMs: 10, note: 'n' } },
  { path: '/operator/v1/undrain', method: 'POST', body: { instance: 'chat-1' } },
  { path: '/operator/v1/scale', method: 'POST', body: { pool: 'chat', target: 2, note: '' } },
  { path: '/operator/v1/mode', method: 'POST', body: { pool: 'chat', mode: 'off' } },
  { path: '/operator/v1/approvals/approval-x/vote', method: 'POST', body: { decision: 'reject', hash: '0'.repeat(64), reason: '' } },
  {
    path: '/operator/v1/keys',
    method: 'POST',
    body: { name: 'n', scopes: ['read'], models: [model], requestsPerMinute: 1, tokensPerMinute: 1, budgetMicros: 1 },
  },
  { path: '/operator/v1/keys/0000', method: 'DELETE' },
];

const headerNames = [
  'authorization',
  'x-api-key',
  'x-request-id',
  'x-session-id',
  'x-slo-ttft-ms',
  'x-slo-tpot-ms',
  'x-gateway-inference-objective',
  'x-llm-d-inference-fairness-id',
  'traceparent',
  'content-type',
  'content-length',
  'host',
  'x-switchyard-operator',
  '__proto__',
];
const headerValues = [
  'Bearer sk-sy-x',
  'Bearer ',
  'Basic eDp5',
  'alice',
  `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
  '127.0.0.1',
  'evil.example',
  ...oddTexts,
  ...oddNumbers.map(String),
];

export const gatewayHttpEntrance = httpEntrance('gateway HTTP', 8, gatewayUrl, gatewayShots);
export const operatorHttpEntrance = httpEntrance('operator HTTP', 4, consoleUrl, operatorShots);

function httpEntrance(name: string, weight: number, url: string, shots: readonly Shot[]): Entrance {
  return {
    name,
    weight,
    shortInputs: 500,
    batch: 2000,
    async open(seed, findings) {
      const fleet = await startFuzzedFleet(seed, findings);
      const outcomes = new Map<string, number>();
      const running = new Set<string>();
      let sentSoFar = 0;
      return {
        outcomes,
        feed(chooser) {
          const { path, options } = shoot(chooser.pick(shots), chooser);
          const leaving = new AbortController();
          const label = `${options.method} ${path.slice(0, 60)}`;
          const id = `${++sentSoFar} ${label}`;
          running.add(id);
          const leaves = chooser.chance(0.1);
          let sent: Promise<MemoryReply>;
          try {
            sent = fleet.world.http.fetch(url + path, { ...options, signal: leaving.signal });
          } catch (thrown) {
            findings.thrown('twin', thrown);
            return;
          }
          if (leaves) fleet.clock.after(chooser.int(50), () => leaving.abort());
          sent
            .then(
              (reply) => judge(reply, label, leaves, outcomes, findings),
              (thrown: unknown) => {
                if (!leaves) findings.thrown(`${label} has no answer`, thrown);
                else count(outcomes, 'left');
              },
            )
            .finally(() => running.delete(id));
        },
        async settle() {
          await settleAll(fleet, running, findings);
        },
        close: () => fleet.stop(),
      };
    },
  };
}

async function settleAll(fleet: FuzzedFleet, running: ReadonlySet<string>, findings: Findings): Promise<void> {
  await fleet.clock
    .until(() => running.size === 0, 180_000)
    .catch(() => findings.add(`no answer within 3 minutes: ${[...running].slice(0, 3).join('; ')}`));
  const status = await fleet.ask();
  if (status !== 200 && status !== 429) findings.add(`the next client gets ${status ?? 'no answer'}`);
  if (fleet.series() > 5_000) findings.add(`metrics have ${fleet.series()} series: labels take values from clients`);
}

async function judge(reply: MemoryReply, label: string, leaves: boolean, outcomes: Map<string, number>, findings: Findings): Promise<void> {
  const text = await reply.text();
  if (leaves && !reply.complete) {
    count(outcomes, 'left');
    return;
  }
  count(outcomes, String(reply.status));
  if (reply.status < 400) return;
  if (label.includes('/readiness') && reply.status === 503) return;
  const problem = refusalProblem(reply.status, reply.headers['content-type'], text);
  if (problem) findings.add(`${label.split('?')[0]}: ${problem}`, text);
}

function shoot(shot: Shot, chooser: Chooser) {
  const headers: Record<string, string> = { 'content-type': 'application/json', 'x-switchyard-operator': 'alice' };
  for (let times = chooser.length(6) - 1; times > 0; times--) {
    Object.defineProperty(headers, chooser.pick(headerNames), {
      value: chooser.pick(headerValues),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  let path = shot.path;
  if (chooser.chance(0.1))
    path = `${path}${chooser.pick(['/', '//', '?', '?limit=NaN', '?limit=1e9', '?a[b]=c', '%', '%2e%2e', '/..', '/%E0%A4%A', '\u0000'])}`;
  const method = chooser.chance(0.05) ? chooser.pick(['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH', 'TRACE', 'x']) : shot.method;
  const options: { method: string; headers: Record<string, string>; body?: string | Uint8Array } = { method, headers };
  if (shot.body !== undefined) {
    const text = mutateJson(shot.body, chooser);
    options.body = chooser.chance(0.2) ? mutateBytes(new TextEncoder().encode(text), [], chooser) : text;
  }
  return { path, options };
}
