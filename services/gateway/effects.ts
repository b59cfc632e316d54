// Carries out what the request actor wants: one function per effect. Results come back to the actor as messages.

import type { Code } from '../../core/errors/codes.ts';
import { toRefusal } from '../../core/errors/switchyard-error.ts';
import { errorBody, errorEvent, errorHeaders, errorStatus } from '../../core/openai/error-body.ts';
import { limitHeaders } from '../../core/openai/headers.ts';
import { whyKeepTrace } from '../../core/request/keep-trace.ts';
import type { RequestEffect, RequestMessage, RequestState } from '../../core/request/request-state.ts';
import { isTurnedAway } from '../../core/request/speaking.ts';
import { tokenIds } from '../../core/request/token-log.ts';
import { admit, leaveQueue } from '../../lib/contracts.ts';
import { giveBack } from '../../lib/http/body-parts.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import type { Clock } from '../../lib/ports/clock.ts';
import type { Telemetry } from '../../lib/ports/telemetry.ts';
import type { GatewayConfig } from './config.ts';
import type { Exchange } from './exchange.ts';
import type { LinkPool } from './link-pool.ts';
import type { Meters } from './meters.ts';

export interface EffectContext {
  readonly gatewayId: string;
  readonly config: GatewayConfig;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly links: LinkPool;
  readonly meters: Meters;
  readonly capabilities: (instanceId: string) => readonly string[];
  /** Instances to keep away from. */
  readonly unreachable: () => readonly string[];
  readonly tell: (requestId: string, message: RequestMessage) => void;
  /** A request that an engine turned away is tried again. */
  readonly retried: () => void;
  /** The request has ended and is to be forgotten. */
  readonly ended: (exchange: Exchange, state: RequestState) => void;
}

type Effect<T extends RequestEffect['type']> = Extract<RequestEffect, { type: T }>;

const noBytes = new Uint8Array();
/**
 * The memory of larger bodies is given back when their request ends, unless some connection may still have to send them: V8
 * looks through its whole heap once some 64 MB of such memory have been made.
 */
const largeBodyBytes = 65_536;
const streamEnd = new TextEncoder().encode('data: [DONE]\n\n');

export function perform(effect: RequestEffect, exchange: Exchange, state: RequestState, context: EffectContext): void {
  switch (effect.type) {
    case 'forward':
      forward(effect, exchange, context);
      break;
    case 'ask':
      ask(effect, exchange, context);
      break;
    case 'leaveQueue':
      leave(exchange, context);
      break;
    case 'open':
      open(effect, exchange, context);
      break;
    case 'cancel':
      cancel(effect, exchange, context);
      break;
    case 'dropped':
      context.meters.dropped(effect.reason);
      break;
    case 'note':
      note(effect, exchange, state, context);
      break;
    case 'complete':
      complete(effect, exchange, context);
      break;
    case 'failClient':
      failClient(effect, exchange, context);
      break;
    case 'done':
      done(exchange, state, context);
      break;
  }
}

function forward(effect: Effect<'forward'>, exchange: Exchange, context: EffectContext): void {
  const { response } = exchange;
  if (!response.headSent) response.head(200, streamHeaders(exchange, context));
  if (response.write(effect.data) || response.buffered() <= context.config.slowClientBytes) return;
  context.tell(exchange.requestId, { type: 'clientTooSlow' });
}

function ask(effect: Effect<'ask'>, exchange: Exchange, context: EffectContext): void {
  const { requestId, facts } = exchange;
  const { bus, telemetry, config, tell } = context;
  exchange.admitSpan ??= telemetry.start('admit', {
    parent: exchange.span.context,
    attributes: {
      'switchyard.request.id': requestId,
      'switchyard.pool': facts.info.pool,
      'switchyard.epoch': effect.info.epoch,
      'switchyard.generated_tokens': effect.info.generatedTokens,
    },
  });
  const asked = telemetry.within(exchange.admitSpan.context, () =>
    bus.request(
      admit,
      [facts.info.pool],
      { request: withoutUnreachable(effect.info, context.unreachable()) },
      { timeoutMs: config.admitTimeoutMs, id: requestId },
    ),
  );
  asked.then(
    (reply) => {
      exchange.limits = reply.limits ?? exchange.limits;
      tell(requestId, { type: 'admitReplied', ask: effect.ask, reply, capabilities: context.capabilities(reply.assignment?.instanceId ?? '') });
    },
    (thrown) => {
      const { code, message } = toRefusal(thrown);
      tell(requestId, { type: 'admitFailed', ask: effect.ask, code: code as Code, message });
    },
  );
}

function withoutUnreachable(info: Effect<'ask'>['info'], unreachable: readonly string[]): Effect<'ask'>['info'] {
  return unreachable.length === 0 ? info : { ...info, avoidInstances: [...new Set([...info.avoidInstances, ...unreachable])] };
}

function leave(exchange: Exchange, context: EffectContext): void {
  const { requestId, facts } = exchange;
  context.bus.publish(leaveQueue, [facts.info.pool], { requestId, pool: facts.info.pool });
}

function open(effect: Effect<'open'>, exchange: Exchange, context: EffectContext): void {
  const { requestId, facts } = exchange;
  const { info } = facts;
  endAdmit(exchange);
  exchange.openedAtMs ||= context.clock.now();
  exchange.streamSpan?.end();
  exchange.streamSpan = context.telemetry.start('stream', {
    parent: exchange.span.context,
    kind: 'client',
    attributes: {
      'switchyard.request.id': requestId,
      'switchyard.instance.id': effect.instanceId,
      'switchyard.epoch': effect.epoch,
      'switchyard.next_index': effect.log.length,
      'switchyard.reservation.id': effect.reservationId || undefined,
    },
  });
  const takesOver = effect.reservationId !== '';
  if (!takesOver) exchange.bodiesSent += 1;
  context.links.open(effect.address, {
    requestId,
    instanceId: effect.instanceId,
    epoch: effect.epoch,
    endpoint: exchange.endpoint,
    body: takesOver ? noBytes : exchange.body,
    clientStreams: facts.streams,
    resumeTokenIds: takesOver ? [] : tokenIds(effect.log),
    resumeText: takesOver ? '' : effect.log.text,
    carry: effect.carry ?? null,
    reservationId: effect.reservationId,
    priority: info.priority,
    arrivalMs: info.arrivalMs,
    createdS: exchange.createdS,
    includeUsage: exchange.includeUsage,
    gatewayId: context.gatewayId,
    keyId: info.keyId,
    sloClass: info.sloClass,
    traceparent: exchange.streamSpan.context.traceparent,
    nextIndex: effect.log.length,
    maxOutputTokens: info.maxOutputTokens,
    promptTokens: info.promptTokens,
    serviceTier: exchange.serviceTier,
    handOff: effect.handOff ?? null,
  });
}

function cancel(effect: Effect<'cancel'>, exchange: Exchange, context: EffectContext): void {
  context.links.cancel(exchange.requestId, effect.epoch, effect.reason);
  exchange.streamSpan?.set({ 'switchyard.reason': effect.reason });
}

function note(effect: Effect<'note'>, exchange: Exchange, state: RequestState, context: EffectContext): void {
  keepIfWorthIt(exchange, state, context);
  exchange.span.event(effect.event, {
    'switchyard.migration.id': effect.event === 'hand_over' ? state.handOvers.at(-1)?.migrationId : undefined,
    'switchyard.instance.id': state.instanceId,
    'switchyard.epoch': state.epoch,
    'switchyard.tokens': state.log.length,
    'switchyard.reason': effect.reason || undefined,
  });
  if (effect.event !== 'failover') return;
  exchange.streamSpan?.fail(effect.reason);
  context.meters.failover(exchange.facts.info.pool, effect.reason);
  if (isTurnedAway(state, effect.reason)) context.retried();
  context.telemetry.within(exchange.span.context, () =>
    context.telemetry.log.warn('instance failed, request continues elsewhere', {
      request: exchange.requestId,
      instance: state.instanceId,
      reason: effect.reason,
      tokens: state.log.length,
    }),
  );
}

function complete(effect: Effect<'complete'>, exchange: Exchange, context: EffectContext): void {
  const { response, facts } = exchange;
  if (!facts.streams) {
    const headers = successHeaders(exchange, context);
    headers['content-type'] = 'application/json';
    headers['content-length'] = String(effect.finalBody.length);
    response.head(200, headers);
    response.end(effect.finalBody);
    return;
  }
  if (!response.headSent) response.head(200, streamHeaders(exchange, context));
  response.end(effect.data.length === 0 ? streamEnd : Buffer.concat([effect.data, streamEnd]));
}

function failClient(effect: Effect<'failClient'>, exchange: Exchange, context: EffectContext): void {
  const { response } = exchange;
  if (response.headSent) {
    response.end(errorEvent(effect));
    return;
  }
  response.head(errorStatus(effect.code), { ...successHeaders(exchange, context), ...errorHeaders(effect) });
  response.end(errorBody(effect));
}

function done(exchange: Exchange, state: RequestState, context: EffectContext): void {
  endAdmit(exchange);
  keepIfWorthIt(exchange, state, context);
  const left = context.links.forget(exchange.requestId);
  if (left && exchange.bodiesSent === 1 && exchange.body.length >= largeBodyBytes) giveBack(exchange.body);
  exchange.streamSpan?.end();
  context.ended(exchange, state);
}

/** Early, while every process still has its part of the trace, and again at the end. */
function keepIfWorthIt({ span }: Exchange, state: RequestState, { config }: EffectContext): void {
  const why = whyKeepTrace(state, config);
  if (why) span.keep(why);
}

function endAdmit(exchange: Exchange): void {
  exchange.admitSpan?.end();
  exchange.admitSpan = undefined;
}

function streamHeaders(exchange: Exchange, context: EffectContext): Record<string, string> {
  const headers = successHeaders(exchange, context);
  headers['content-type'] = 'text/event-stream; charset=utf-8';
  headers['cache-control'] = 'no-cache';
  headers['x-accel-buffering'] = 'no';
  return headers;
}

function successHeaders(exchange: Exchange, context: EffectContext): Record<string, string> {
  const nowMs = context.clock.now();
  const { arrivalMs } = exchange.facts.info;
  return {
    ...exchange.headers,
    ...limitHeaders(exchange.limits),
    'openai-processing-ms': String(Math.round(nowMs - arrivalMs)),
    'x-switchyard-overhead-ms': ((exchange.openedAtMs || nowMs) - arrivalMs).toFixed(1),
  };
}
