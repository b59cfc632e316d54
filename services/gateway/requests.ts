// The requests of this gateway: running ones with their actors, and a bounded list of recent ones that have ended.

import { ChurnMap } from '../../core/collections/churn-map.ts';
import { refusal } from '../../core/errors/switchyard-error.ts';
import { handOverReply } from '../../core/request/hand-over.ts';
import { newRequest, type RequestEffect, type RequestMessage, type RequestState } from '../../core/request/request-state.ts';
import { earned, mayRetry, newBudget, spent } from '../../core/request/retry-budget.ts';
import { outputTokens } from '../../core/request/token-log.ts';
import { type ActorHost, hostActors } from '../../lib/actor/host.ts';
import type { Body } from '../../lib/ports/bus.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { HandOverCommand, HandOverQuery, HandOverReply, RequestDone, RequestRow } from '../../proto/gen/messages.ts';
import { requestActor, requestLimits } from './actor.ts';
import type { GatewayConfig } from './config.ts';
import type { DoneRecorder } from './done-recorder.ts';
import type { Exchange } from './exchange.ts';
import type { Meters } from './meters.ts';

type Answer = Body<HandOverReply>;

export interface Requests {
  readonly size: number;
  start(exchange: Exchange): void;
  /** Told nothing when the request has ended. */
  tell(requestId: string, message: RequestMessage): void;
  tellAll(message: RequestMessage, which?: (state: RequestState) => boolean): void;
  /** `giver`: the instance that asks for it; only what it speaks for is its to give. Absent: who asks may move any request. */
  handOver(command: HandOverCommand, capabilities: readonly string[], giver?: string): Answer;
  handOverOutcome(query: HandOverQuery, giver?: string): Answer;
  /** Whether the budget has a retry left for a request that an engine turns away. */
  mayRetry(): boolean;
  retried(): void;
  rows(includeEnded: boolean): RequestRow[];
  countByPool(): Map<string, number>;
  ended(exchange: Exchange, state: RequestState): void;
  /** Resolves when no request is running. */
  empty(): Promise<void>;
}

interface Ended {
  readonly row: RequestRow;
  readonly state: RequestState;
}

export interface RequestsOptions {
  readonly ports: Ports;
  readonly config: GatewayConfig;
  readonly meters: Meters;
  readonly recorder: DoneRecorder;
  readonly perform: (effect: RequestEffect, exchange: Exchange, state: RequestState) => void;
}

export function createRequests(options: RequestsOptions): Requests {
  const { config, meters, recorder } = options;
  const { clock, telemetry, identity } = options.ports;
  const exchanges = new ChurnMap<string, Exchange>();
  const recent = new ChurnMap<string, Ended>();
  /** Their ids, the oldest at `oldestRecent` once there are as many as are kept. */
  const recentIds: string[] = [];
  let oldestRecent = 0;
  const limits = requestLimits(config);
  let whenEmpty: (() => void)[] = [];
  let budget = newBudget({ share: config.retryShare, burst: config.retryBurst });

  const host: ActorHost<RequestState, RequestMessage> = hostActors({
    actor: requestActor,
    clock,
    telemetry,
    perform(requestId, effect: RequestEffect) {
      const exchange = exchanges.get(requestId);
      const state = host.state(requestId);
      if (exchange && state) options.perform(effect, exchange, state);
    },
  });

  function tell(requestId: string, message: RequestMessage): void {
    if (!exchanges.has(requestId)) return;
    host.tell(requestId, message);
  }

  function remember(requestId: string, ended: Ended): void {
    if (config.recentRequests === 0) return;
    recent.set(requestId, ended);
    if (recentIds.length < config.recentRequests) {
      recentIds.push(requestId);
      return;
    }
    recent.delete(recentIds[oldestRecent]!);
    recentIds[oldestRecent] = requestId;
    oldestRecent = (oldestRecent + 1) % recentIds.length;
  }

  /** The state of a running request, or the last one of a recent request. */
  function lastState(requestId: string): RequestState | undefined {
    return exchanges.has(requestId) ? host.state(requestId) : recent.get(requestId)?.state;
  }

  function answer(requestId: string, migrationId: string): Answer {
    const state = lastState(requestId);
    if (!state) return { outcome: 'unknown_request', epoch: 0, instanceId: '', refusal: refusal('unknown_request', `no request ${requestId} here`) };
    const decided = handOverReply(state, migrationId);
    if (decided) return decided;
    const no = state.ending ? refusal('sequence_finished', `the request is ${state.phase}`) : refusal('not_movable', 'no such hand-over has come');
    return { outcome: 'refused', epoch: state.epoch, instanceId: state.instanceId, refusal: no };
  }

  function speaksFor(giver: string | undefined, requestId: string): boolean {
    return giver === undefined || host.state(requestId)?.instanceId === giver;
  }

  return {
    get size() {
      return exchanges.size;
    },
    start(exchange) {
      budget = earned(budget);
      exchanges.set(exchange.requestId, exchange);
      host.restore(exchange.requestId, newRequest(exchange.facts, limits));
      tell(exchange.requestId, { type: 'begin' });
    },
    tell,
    mayRetry: () => mayRetry(budget),
    retried() {
      budget = spent(budget);
    },
    tellAll(message, which = () => true) {
      for (const requestId of [...exchanges.keys()]) {
        const state = host.state(requestId);
        if (state && which(state)) tell(requestId, message);
      }
    },
    handOver(command, capabilities, giver) {
      if (speaksFor(giver, command.requestId)) tell(command.requestId, { type: 'handOver', command, capabilities });
      return answer(command.requestId, command.migrationId);
    },
    handOverOutcome({ requestId, migrationId, final }, giver) {
      if (final && speaksFor(giver, requestId)) tell(requestId, { type: 'handOverAsked', migrationId });
      return answer(requestId, migrationId);
    },
    rows(includeEnded) {
      const rows = [...exchanges.values()].map((exchange) => row(exchange, host.state(exchange.requestId)!, identity.id));
      return includeEnded ? [...rows, ...[...recent.values()].map((ended) => ended.row)] : rows;
    },
    countByPool() {
      const counts = new Map(config.fleet.pools.map((pool) => [pool.id, 0]));
      for (const { facts } of exchanges.values()) counts.set(facts.info.pool, (counts.get(facts.info.pool) ?? 0) + 1);
      return counts;
    },
    ended(exchange, state) {
      const endMs = clock.now();
      const { requestId } = exchange;
      exchanges.delete(requestId);
      host.stop(requestId);
      remember(requestId, {
        row: row(exchange, state, identity.id),
        state: { ...state, log: { ids: [], text: '', length: state.log.length, exact: false } },
      });
      recorder.record(requestEnd(exchange, state, endMs, identity.id));
      meters.ended(exchange, state, endMs);
      endSpan(exchange, state);
      if (exchanges.size > 0) return;
      for (const resolve of whenEmpty) resolve();
      whenEmpty = [];
    },
    empty() {
      return exchanges.size === 0 ? Promise.resolve() : new Promise((resolve) => whenEmpty.push(resolve));
    },
  };
}

function row(exchange: Exchange, state: RequestState, gatewayId: string): RequestRow {
  const { requestId, pool, model, arrivalMs, sloClass } = exchange.facts.info;
  return {
    requestId,
    state: state.phase,
    pool,
    model,
    instanceId: state.instanceId,
    epoch: state.epoch,
    tokens: state.log.length,
    arrivalMs,
    migrations: state.migrations,
    failovers: state.failovers,
    gatewayId,
    traceId: exchange.span.traceId,
    sloClass,
    code: state.ending?.code ?? '',
  };
}

/** What was produced is what is charged, also when the client left. */
function requestEnd(exchange: Exchange, state: RequestState, endMs: number, gatewayId: string): RequestDone {
  const { requestId, pool, model, keyId, promptTokens, arrivalMs, sloClass } = exchange.facts.info;
  return {
    requestId,
    pool,
    model,
    keyId,
    instanceId: state.instanceId,
    epoch: state.epoch,
    outcome: state.ending!.outcome,
    code: state.ending!.code,
    promptTokens: state.usage?.promptTokens ?? (state.log.length > 0 ? promptTokens : 0),
    cachedTokens: state.usage?.cachedTokens ?? 0,
    outputTokens: outputTokens(state.log, state.usage),
    arrivalMs,
    firstTokenMs: state.firstTokenMs,
    endMs,
    migrations: state.migrations,
    failovers: state.failovers,
    sloClass,
    gatewayId,
    traceId: exchange.span.traceId,
  };
}

function endSpan(exchange: Exchange, state: RequestState): void {
  const { span, facts } = exchange;
  const { outcome, code, finishReason, message } = state.ending!;
  const ttftMs = state.firstTokenMs > 0 ? state.firstTokenMs - facts.info.arrivalMs : undefined;
  span.set({
    'switchyard.outcome': outcome,
    'switchyard.code': code || undefined,
    'switchyard.instance.id': state.instanceId || undefined,
    'switchyard.epoch': state.epoch,
    'switchyard.ttft_ms': ttftMs,
    'gen_ai.response.time_to_first_chunk': ttftMs === undefined ? undefined : ttftMs / 1000,
    'gen_ai.response.finish_reasons': finishReason || undefined,
    'gen_ai.response.model': facts.info.model,
    'gen_ai.usage.input_tokens': state.usage?.promptTokens ?? facts.info.promptTokens,
    'gen_ai.usage.output_tokens': outputTokens(state.log, state.usage),
    'gen_ai.usage.cache_read.input_tokens': state.usage?.cachedTokens,
  });
  if (outcome === 'failed' || outcome === 'refused') span.fail(code || 'internal', message);
  span.end();
}
