// Makes a running request of a POST: who, what, for which pool, how urgent. Says no at the door where that is certain.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { clientTrace, readWishes, type Wishes } from '../../core/openai/headers.ts';
import { type Endpoint, isInvalid, type RequestBody, readRequestBody } from '../../core/openai/request-body.ts';
import { serviceClass, usedTier } from '../../core/openai/service-class.ts';
import { withoutFields } from '../../core/openai/without-fields.ts';
import type { RequestFacts } from '../../core/request/request-state.ts';
import { prefixHashes } from '../../core/routing/prefix-hash.ts';
import type { ApiKey } from '../../lib/auth/keys.ts';
import type { PoolConfig } from '../../lib/config/fleet.ts';
import type { HttpRequest, HttpResponse } from '../../lib/ports/http.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Span } from '../../lib/ports/telemetry.ts';
import type { GatewayConfig } from './config.ts';
import { type Door, mayUse } from './door.ts';
import { type Exchange, operationNames } from './exchange.ts';
import type { Meters } from './meters.ts';
import { sendError } from './reply.ts';
import type { Requests } from './requests.ts';

type Headers = Readonly<Record<string, string>>;

export interface IntakeOptions {
  readonly ports: Ports;
  readonly config: GatewayConfig;
  readonly door: Door;
  readonly meters: Meters;
  readonly requests: Requests;
  readonly draining: () => boolean;
}

export type Intake = (endpoint: Endpoint, request: HttpRequest, response: HttpResponse, requestId: string, headers: Headers) => Promise<void>;

export function createIntake(options: IntakeOptions): Intake {
  const { config, door, meters, requests } = options;
  const { clock, telemetry, identity } = options.ports;
  const pools = new Map<string, PoolConfig>(config.fleet.pools.flatMap((pool) => pool.models.map((model) => [model, pool] as const)));

  return async (endpoint, request, response, requestId, headers) => {
    const arrivalMs = clock.now();
    const refuse = (error: Parameters<typeof sendError>[2]) => {
      meters.turnedAway(error.code);
      sendError(response, headers, error);
    };
    if (options.draining()) return refuse({ code: 'draining', message: 'this gateway is shutting down', retryAfterMs: 1000 });
    if (requests.size >= config.maxRequests) return refuse({ code: 'queue_full', message: 'too many requests are running here', retryAfterMs: 1000 });

    let key: ApiKey | undefined;
    let bytes: Uint8Array;
    try {
      const found = door(request);
      key = found instanceof Promise ? await found : found;
      bytes = await request.body(config.maxBodyBytes);
    } catch (thrown) {
      if (!(thrown instanceof SwitchyardError)) throw thrown;
      return refuse({ code: thrown.code, message: thrown.message, retryAfterMs: thrown.retryAfterMs });
    }

    const body = readRequestBody(endpoint, bytes, config.forbiddenFields);
    if (isInvalid(body)) return refuse(body);
    const pool = pools.get(body.model);
    if (!pool) return refuse({ code: 'model_not_found', message: `the model "${body.model}" does not exist here`, param: 'model' });
    if (!mayUse(key, body.model)) return refuse({ code: 'permission_denied', message: `this API key may not use "${body.model}"`, param: 'model' });
    const maxOutputTokens = body.maxTokens ?? config.defaultMaxTokens;
    if (maxOutputTokens > config.maxOutputTokens) {
      return refuse({ code: 'invalid_request', message: `at most ${config.maxOutputTokens} tokens can be asked for`, param: body.maxTokensParam });
    }

    const wishes = readWishes(request.headers);
    const facts = factsOf({ wishes, requestId, arrivalMs, body, pool, key, maxOutputTokens });
    const span = startSpan(endpoint, request, facts);
    const exchange: Exchange = {
      requestId,
      facts,
      endpoint,
      body: body.forbiddenFields.length > 0 ? withoutFields(bytes, body.forbiddenFields) : bytes,
      includeUsage: body.includeUsage,
      serviceTier: usedTier(body.serviceTier, wishes.objective, config.objectives),
      createdS: Math.floor(arrivalMs / 1000),
      response,
      headers: { ...headers, traceparent: span.context.traceparent },
      span,
      admitSpan: undefined,
      streamSpan: undefined,
      limits: undefined,
      openedAtMs: 0,
      bodiesSent: 0,
    };
    requests.start(exchange);
    response.onClientLeft(() => requests.tell(requestId, { type: 'clientLeft' }));
  };

  function factsOf(given: {
    wishes: Wishes;
    requestId: string;
    arrivalMs: number;
    body: RequestBody;
    pool: PoolConfig;
    key: ApiKey | undefined;
    maxOutputTokens: number;
  }): RequestFacts {
    const { body, pool, arrivalMs, wishes } = given;
    const { sloClass, priority } = serviceClass(body.serviceTier, wishes.objective, config.objectives);
    return {
      info: {
        requestId: given.requestId,
        pool: pool.id,
        model: pool.models[0]!,
        sloClass,
        priority,
        arrivalMs,
        queueDeadlineMs: arrivalMs + config.queueMs,
        ttftSloMs: wishes.ttftSloMs,
        tpotSloMs: wishes.tpotSloMs,
        promptTokens: body.promptTokens,
        maxOutputTokens: given.maxOutputTokens,
        prefixHashes: prefixHashes(body.leadingText),
        sessionId: wishes.sessionId || body.cacheKey,
        fairnessId: wishes.fairnessId,
        keyId: given.key?.id ?? '',
        gatewayId: identity.id,
        traceparent: '',
      },
      streams: body.streams,
      continuationNeeds: body.continuationNeeds,
    };
  }

  function startSpan(endpoint: Endpoint, request: HttpRequest, facts: RequestFacts): Span {
    const { info } = facts;
    const operation = operationNames[endpoint];
    return telemetry.start(`${operation} ${info.model}`, {
      kind: 'server',
      parent: clientTrace(request.headers),
      attributes: {
        'gen_ai.operation.name': operation,
        'gen_ai.provider.name': 'switchyard',
        'gen_ai.request.model': info.model,
        'gen_ai.request.max_tokens': info.maxOutputTokens,
        'gen_ai.request.stream': facts.streams,
        'gen_ai.conversation.id': info.sessionId || undefined,
        'switchyard.request.id': info.requestId,
        'switchyard.pool': info.pool,
        'switchyard.slo_class': info.sloClass,
        'switchyard.priority': info.priority,
        'switchyard.gateway.id': identity.id,
      },
    });
  }
}
