// The paths of the HTTP API.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { clientRequestId } from '../../core/openai/headers.ts';
import type { Endpoint } from '../../core/openai/request-body.ts';
import type { HttpHandler, HttpRequest, HttpResponse } from '../../lib/ports/http.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { GatewayConfig } from './config.ts';
import type { Door } from './door.ts';
import { mayUse } from './door.ts';
import type { Intake } from './intake.ts';
import { sendError, sendJson } from './reply.ts';

export interface RoutesOptions {
  readonly ports: Ports;
  readonly config: GatewayConfig;
  readonly door: Door;
  readonly intake: Intake;
  readonly ready: () => true | string;
}

type Headers = Readonly<Record<string, string>>;

const inference: Readonly<Record<string, Endpoint>> = { '/v1/chat/completions': 'chat', '/v1/completions': 'completions' };
const modelsPath = '/v1/models';
const probePaths: ReadonlySet<string> = new Set(['/health', '/liveness', '/readiness', '/metrics']);

/** For metrics: ids of models are many. */
export function routeOf(path: string): string {
  if (Object.hasOwn(inference, path) || probePaths.has(path) || path === modelsPath) return path;
  return path.startsWith(`${modelsPath}/`) ? `${modelsPath}/{id}` : '';
}

export function createRoutes(options: RoutesOptions): HttpHandler {
  const { ports, config, door, intake } = options;
  const models = modelList(config, Math.floor(ports.clock.now() / 1000));

  return (request, response) => {
    const requestId = ports.rng.id('req-');
    const headers = { 'x-request-id': clientRequestId(request.headers) ?? requestId, 'x-switchyard-request-id': requestId };
    const endpoint = Object.hasOwn(inference, request.path) ? inference[request.path] : undefined;
    if (endpoint) {
      if (request.method !== 'POST') return wrongMethod(response, headers, 'POST');
      return intake(endpoint, request, response, requestId, headers);
    }
    const get = getters(request.path);
    if (!get) return sendError(response, headers, { code: 'not_found', message: `there is nothing at ${request.path}` });
    if (request.method !== 'GET' && request.method !== 'HEAD') return wrongMethod(response, headers, 'GET');
    return get(request, response, headers);
  };

  function getters(path: string): ((request: HttpRequest, response: HttpResponse, headers: Headers) => void | Promise<void>) | undefined {
    if (path === '/health' || path === '/liveness') return (_request, response, headers) => sendJson(response, headers, 200, { status: 'ok' });
    if (path === '/readiness') return (_request, response, headers) => readiness(response, headers);
    if (path === '/metrics') return (_request, response, headers) => metrics(response, headers);
    if (path === modelsPath || path.startsWith(`${modelsPath}/`)) return listModels;
    return undefined;
  }

  function readiness(response: HttpResponse, headers: Headers): void {
    const ready = options.ready();
    if (ready === true) sendJson(response, headers, 200, { status: 'ready' });
    else sendJson(response, headers, 503, { status: 'not_ready', reason: ready });
  }

  /** Best effort: while the main loop is busy the probe port answers, this one waits. */
  async function metrics(response: HttpResponse, headers: Headers): Promise<void> {
    const text = await ports.telemetry.metricsText?.();
    response.head(200, { ...headers, 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
    response.end(text ?? '');
  }

  async function listModels(request: HttpRequest, response: HttpResponse, headers: Headers): Promise<void> {
    try {
      const key = await door(request);
      const visible = models.filter((model) => mayUse(key, model.id));
      if (request.path === modelsPath || request.path === `${modelsPath}/`)
        return sendJson(response, headers, 200, { object: 'list', data: visible });
      const id = decoded(request.path.slice(modelsPath.length + 1));
      const model = visible.find((candidate) => candidate.id === id);
      if (model) return sendJson(response, headers, 200, model);
      sendError(response, headers, { code: 'model_not_found', message: `the model "${id}" does not exist here`, param: 'model' });
    } catch (thrown) {
      if (!(thrown instanceof SwitchyardError)) throw thrown;
      sendError(response, headers, { code: thrown.code, message: thrown.message, retryAfterMs: thrown.retryAfterMs });
    }
  }
}

interface Model {
  readonly id: string;
  readonly object: 'model';
  readonly created: number;
  readonly owned_by: string;
}

/** Every name that clients may use, sorted. */
function modelList(config: GatewayConfig, created: number): Model[] {
  const names = config.fleet.pools.flatMap((pool) => pool.models).sort();
  return names.map((id) => ({ id, object: 'model', created, owned_by: 'switchyard' }));
}

function wrongMethod(response: HttpResponse, headers: Headers, allow: string): void {
  sendError(response, { ...headers, allow }, { code: 'method_not_allowed', message: `use ${allow} here` });
}

/** Model ids may hold slashes, written as they are or escaped. */
function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
