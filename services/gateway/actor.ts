// The request actor, as the host runs it. How it decides is in core/request.
import { assertRequestValid, requestWakeAt, stepRequest } from '../../core/request/request-actor.ts';
import { noRequest, type RequestEffect, type RequestLimits, type RequestMessage, type RequestState } from '../../core/request/request-state.ts';
import type { Actor } from '../../lib/actor/actor.ts';
import type { GatewayConfig } from './config.ts';

export const requestActor: Actor<RequestState, RequestMessage, RequestEffect> = {
  kind: 'request',
  /** Requests are put in place with their facts; whoever tells an unknown one something finds this ended stand-in. */
  start: () => noRequest,
  step: stepRequest,
  wakeAt: requestWakeAt,
  assertValid: assertRequestValid,
};

const rememberedHandOvers = 16;

export function requestLimits(config: GatewayConfig): RequestLimits {
  return {
    stallMs: config.stallMs,
    firstTokenMs: config.firstTokenMs,
    askAgainMs: config.askAgainMs,
    queueGraceMs: config.queueGraceMs,
    recoverMs: config.recoverMs,
    avoidMs: config.avoidMs,
    maxFailovers: config.maxFailovers,
    maxHandOvers: rememberedHandOvers,
  };
}
