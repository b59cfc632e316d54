// The operator API: paths, the shape of their bodies, and what they call. Anything else gets an error that says what to do.
import { z } from 'zod';
import { codes } from '../../core/errors/codes.ts';
import { fromRefusal, refusal, SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { keyScopes } from '../../lib/auth/keys.ts';
import { serverHeader } from '../../lib/operator/types.ts';
import type { HttpHandler, HttpRequest, HttpResponse } from '../../lib/ports/http.ts';
import type { Access, Operator, Scope } from './access.ts';
import type { Answer, Effects } from './effects.ts';

const maxBodyBytes = 64 * 1024;
const base = '/operator/v1';

interface Call {
  readonly parameters: readonly string[];
  readonly query: URLSearchParams;
  readonly body: unknown;
  readonly operator: Operator;
}

interface Route {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly pattern: RegExp;
  /** As metrics name it. */
  readonly route: string;
  readonly needs: Scope;
  readonly run: (call: Call) => Promise<unknown>;
}

const name = z.string().min(1).max(256);
const bodies = {
  migrate: z.strictObject({ request: name, to: z.string().max(256).default('') }),
  drain: z.strictObject({ instance: name, withinMs: z.number().min(0).max(86_400_000).default(0), note: z.string().max(1000).default('') }),
  undrain: z.strictObject({ instance: name }),
  scale: z.strictObject({ pool: name, target: z.int().min(0).max(10_000), note: z.string().max(1000).default('') }),
  mode: z.strictObject({ pool: name, mode: z.enum(['off', 'advisory', 'active']) }),
  vote: z.strictObject({ decision: z.enum(['approve', 'reject']), hash: z.string().length(64), reason: z.string().max(1000).default('') }),
  key: z.strictObject({
    name,
    scopes: z
      .array(z.enum(keyScopes))
      .min(1)
      .default(['inference'])
      .transform((scopes) => [...new Set(scopes)]),
    models: z.array(name).default([]),
    requestsPerMinute: z.number().min(0).default(0),
    tokensPerMinute: z.number().min(0).default(0),
    budgetMicros: z.number().min(0).default(0),
  }),
};

const workflowQuery = z.strictObject({
  request: name.optional(),
  instance: name.optional(),
  pool: name.optional(),
  running: z.enum(['true', 'false']).optional(),
  limit: z.coerce.number().int().min(1).default(50),
});

function checked<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'body'}: ${issue.message}`);
  throw new SwitchyardError('invalid_request', problems.join('; '));
}

/** The value, or the refusal as an error for the HTTP boundary. */
function unwrap<T>(answer: Answer<T>): T {
  if ('refusal' in answer) throw fromRefusal(answer.refusal);
  return answer.value;
}

/** An id, in a path. */
const one = '/([^/]+)';

function routes(effects: Effects): Route[] {
  const route = (method: Route['method'], path: string, needs: Scope, run: Route['run']): Route => ({
    method,
    needs,
    pattern: new RegExp(`^${base}${path}$`),
    route: base + path.replaceAll(one, '/{id}'),
    run,
  });
  const get = (path: string, run: Route['run']) => route('GET', path, 'read', run);
  const post = (path: string, run: Route['run'], needs: Scope = 'operate') => route('POST', path, needs, run);
  return [
    get('/status', () => effects.status()),
    get('/services', () => effects.services()),
    get('/scrape-targets', () => effects.scrapeTargets()),
    get('/instances', () => effects.instances()),
    get('/requests', (call) => effects.requests(call.query.get('all') === 'true')),
    get('/pools', () => effects.pools()),
    get('/migrations', () => effects.migrations()),
    get(`/explain${one}`, async (call) => unwrap(await effects.explain(call.parameters[0]!))),
    get(`/trace${one}`, async (call) => unwrap(await effects.journey(call.parameters[0]!))),
    get('/workflows', (call) => {
      const { request, instance, pool, running, limit } = checked(workflowQuery, Object.fromEntries(call.query));
      return effects.workflowList({ request, instance, pool, ...(running === 'true' && { running: true }) }, limit);
    }),
    get(`/workflows${one}`, async (call) => unwrap(await effects.workflow(call.parameters[0]!, call.query.get('story') === 'true'))),
    get('/audit', (call) => effects.audit(wholeNumber(call.query.get('limit'), 100))),
    post('/migrate', async (call) => {
      const { request, to } = checked(bodies.migrate, call.body);
      return unwrap(await effects.move(request, to, call.operator.name));
    }),
    post('/drain', async (call) => {
      const { instance, withinMs, note } = checked(bodies.drain, call.body);
      return unwrap(await effects.drain(instance, withinMs, note, call.operator.name));
    }),
    post('/undrain', async (call) => unwrap(await effects.undrain(checked(bodies.undrain, call.body).instance, call.operator.name))),
    post('/scale', async (call) => {
      const { pool, target, note } = checked(bodies.scale, call.body);
      return unwrap(await effects.scale(pool, target, note, call.operator.name));
    }),
    post('/mode', async (call) => {
      const { pool, mode } = checked(bodies.mode, call.body);
      return unwrap(await effects.mode(pool, mode, call.operator.name));
    }),
    get('/approvals', (call) => effects.approvals(call.query.get('all') === 'true')),
    post(
      `/approvals${one}/vote`,
      async (call) => {
        const { decision, hash, reason } = checked(bodies.vote, call.body);
        return unwrap(await effects.vote(call.parameters[0]!, decision, hash, reason, call.operator.name));
      },
      'approve',
    ),
    get('/keys', () => effects.keys()),
    post('/keys', async (call) => unwrap(await effects.makeKey(checked(bodies.key, call.body), call.operator))),
    route('DELETE', `/keys${one}`, 'operate', async (call) => unwrap(await effects.revoke(call.parameters[0]!, call.operator))),
  ];
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch (cause) {
    throw new SwitchyardError('invalid_request', `${part} is not a percent-encoded name`, { cause });
  }
}

function wholeNumber(text: string | null, otherwise: number): number {
  const value = Number(text ?? otherwise);
  if (!Number.isInteger(value) || value < 1) throw new SwitchyardError('invalid_request', 'limit: a whole number, 1 or more');
  return value;
}

function answer(response: HttpResponse, status: number, value: unknown): void {
  response.head(status, { 'content-type': 'application/json', 'cache-control': 'no-store', [serverHeader]: 'operator-api' });
  response.end(JSON.stringify(value));
}

function failure(response: HttpResponse, thrown: unknown): void {
  const known = thrown instanceof SwitchyardError ? thrown : new SwitchyardError('internal', String(thrown), { cause: thrown });
  const { http, type } = codes[known.code];
  answer(response, http, { error: { message: known.message, type, param: null, code: known.code } });
}

async function readJson(request: HttpRequest): Promise<unknown> {
  const bytes = await request.body(maxBodyBytes);
  if (bytes.length === 0) return {};
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new SwitchyardError('invalid_json', 'the body is not JSON', { cause });
  }
}

export function operatorApi(effects: Effects, access: Access): { readonly handler: HttpHandler; readonly routeOf: (path: string) => string } {
  const table = routes(effects);
  const handler: HttpHandler = async (request, response) => {
    try {
      const matching = table.filter((route) => route.pattern.test(request.path));
      const route = matching.find((candidate) => candidate.method === request.method);
      if (!route && matching.length > 0)
        throw new SwitchyardError('method_not_allowed', `${request.path} takes ${matching.map((candidate) => candidate.method).join(', ')}`);
      if (!route)
        throw fromRefusal(refusal('not_found', `no ${request.path} here; the operator API lives under ${base} (see services/console/README.md)`));
      const operator = await access(request, route.needs);
      const call: Call = {
        parameters: (route.pattern.exec(request.path) ?? []).slice(1).map(decoded),
        query: request.query,
        operator,
        body: route.method === 'GET' ? undefined : await readJson(request),
      };
      answer(response, 200, await route.run(call));
    } catch (thrown) {
      if (!response.headSent) failure(response, thrown);
    }
  };
  return { handler, routeOf: (path) => table.find((route) => route.pattern.test(path))?.route ?? '' };
}
