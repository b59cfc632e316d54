// What a request may use at most, what it used, and what its key may use: the amounts of reserve and settle.
import type { LimitState, Refusal, RequestDone, RequestInfo } from '../../proto/gen/messages.ts';
import { refusal } from '../errors/switchyard-error.ts';

/** Micro-dollars per token. */
export interface TokenPrice {
  readonly inputMicros: number;
  readonly outputMicros: number;
}

export interface TokenAmount {
  readonly tokens: number;
  readonly costMicros: number;
}

/** Limits of a key; 0 means unlimited. */
export interface KeyLimits {
  readonly requestsPerMinute: number;
  readonly tokensPerMinute: number;
  readonly budgetMicros: number;
}

export interface LedgerLeft {
  readonly remainingRequests: number;
  readonly resetRequestsMs: number;
  readonly remainingTokens: number;
  readonly resetTokensMs: number;
}

export const noLimits: KeyLimits = { requestsPerMinute: 0, tokensPerMinute: 0, budgetMicros: 0 };

export function isLimited(limits: KeyLimits): boolean {
  return limits.requestsPerMinute > 0 || limits.tokensPerMinute > 0 || limits.budgetMicros > 0;
}

/**
 * Prompt tokens are an estimate, one for four characters. A prompt of short words has twice as many, and tokenizers in use
 * make at most one of each character.
 */
const mostPerEstimatedToken = 4;

/**
 * What is reserved: tokens as estimated, since a rate evens out what it got wrong, but the most that the request may cost,
 * since a spent budget does not come back. Requests that run together would overshoot it by all their errors.
 */
export function estimatedUse({ promptTokens, maxOutputTokens }: RequestInfo, price: TokenPrice): TokenAmount {
  const { costMicros } = amount(promptTokens * mostPerEstimatedToken, maxOutputTokens, price);
  return { tokens: promptTokens + maxOutputTokens, costMicros };
}

/** What it used. A request that never reached an instance used nothing, whatever its prompt. */
export function actualUse(done: RequestDone, price: TokenPrice): TokenAmount {
  return done.instanceId === '' ? { tokens: 0, costMicros: 0 } : amount(done.promptTokens, done.outputTokens, price);
}

function amount(promptTokens: number, outputTokens: number, price: TokenPrice): TokenAmount {
  return { tokens: promptTokens + outputTokens, costMicros: promptTokens * price.inputMicros + outputTokens * price.outputMicros };
}

export function limitState(limits: KeyLimits, left: LedgerLeft): LimitState {
  return {
    limitRequests: limits.requestsPerMinute,
    remainingRequests: left.remainingRequests,
    resetRequestsMs: left.resetRequestsMs,
    limitTokens: limits.tokensPerMinute,
    remainingTokens: left.remainingTokens,
    resetTokensMs: left.resetTokensMs,
  };
}

/** A budget does not refill, so its refusal is not to be retried. */
export function limitRefusal(exceeded: 'requests' | 'tokens' | 'budget', limits: KeyLimits, retryAfterMs: number): Refusal {
  switch (exceeded) {
    case 'requests':
      return refusal('rate_limit_exceeded', `more than ${limits.requestsPerMinute} requests per minute`, retryAfterMs);
    case 'tokens':
      return refusal('rate_limit_exceeded', `more than ${limits.tokensPerMinute} tokens per minute`, retryAfterMs);
    case 'budget':
      return refusal('insufficient_quota', 'the spend budget of this key does not cover the request');
  }
}
