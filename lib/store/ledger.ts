// The arithmetic of limits and budgets for one API key, as plain functions on a plain state. The memory twin runs them;
// redis-scripts.ts is the same arithmetic in Lua, and the conformance suite compares the two on random histories.
//
// Requests and tokens per minute are token buckets (docs/decisions/0010-token-buckets.md): they hold one minute's
// allowance and refill evenly. A reservation takes what the request may use at most; settling gives back what it did not.
import type { LedgerLimits, LedgerState, Reservation, ReserveResult } from '../ports/store.ts';

/** Settled request ids are remembered this long: longer than a settlement can be redelivered (lib/bus/limits.ts). */
export const settledMemoryMs = 2 * 3_600_000;

export interface Bucket {
  /** May fall below zero: a settlement above its reservation, or one request larger than the whole bucket. */
  readonly level: number;
  readonly atMs: number;
  /** Of the last reservation; settlements do not know the limits. */
  readonly perMinute: number;
}

export interface OpenReservation {
  readonly tokens: number;
  readonly costMicros: number;
  readonly expiresAtMs: number;
}

export interface Ledger {
  requests: Bucket | undefined;
  tokens: Bucket | undefined;
  spentMicros: number;
  reservedMicros: number;
  /** By request id. As many as requests in flight: each leaves by settlement or expiry. */
  readonly open: Map<string, OpenReservation>;
  /** Request id to when it was settled. Dropped after `settledMemoryMs`. */
  readonly settled: Map<string, number>;
}

export function emptyLedger(): Ledger {
  return { requests: undefined, tokens: undefined, spentMicros: 0, reservedMicros: 0, open: new Map(), settled: new Map() };
}

const minuteMs = 60_000;

/** The bucket at `nowMs`. Time never goes back in it, so that callers' clocks need not agree exactly. */
function refill(bucket: Bucket, nowMs: number): Bucket {
  const atMs = Math.max(nowMs, bucket.atMs);
  const { perMinute } = bucket;
  return { level: Math.min(perMinute, bucket.level + ((atMs - bucket.atMs) * perMinute) / minuteMs), atMs, perMinute };
}

/** The bucket at `nowMs` under a limit that may have changed; a new one is full. */
function under(perMinute: number, bucket: Bucket | undefined, nowMs: number): Bucket {
  if (!bucket) return { level: perMinute, atMs: nowMs, perMinute };
  const refilled = refill(bucket, nowMs);
  return { ...refilled, level: Math.min(perMinute, refilled.level), perMinute };
}

/** Gives tokens back, or takes them when negative. */
function add(bucket: Bucket | undefined, tokens: number, nowMs: number): Bucket | undefined {
  if (!bucket) return undefined;
  const refilled = refill(bucket, nowMs);
  return { ...refilled, level: Math.min(refilled.perMinute, refilled.level + tokens) };
}

function expire(ledger: Ledger, nowMs: number): void {
  for (const [requestId, reservation] of ledger.open) {
    if (reservation.expiresAtMs <= nowMs) ledger.tokens = add(ledger.tokens, close(ledger, requestId), nowMs);
  }
  // In order of settling, so the first young one ends it.
  for (const [requestId, atMs] of ledger.settled) {
    if (atMs + settledMemoryMs > nowMs) break;
    ledger.settled.delete(requestId);
  }
  tidy(ledger);
}

/** Closes an open reservation and returns the tokens it held; 0 when there is none. */
function close(ledger: Ledger, requestId: string): number {
  const reservation = ledger.open.get(requestId);
  ledger.open.delete(requestId);
  ledger.reservedMicros -= reservation?.costMicros ?? 0;
  return reservation?.tokens ?? 0;
}

/** Leftovers of adding and subtracting fractions do not add up over the years. */
function tidy(ledger: Ledger): void {
  if (ledger.open.size === 0) ledger.reservedMicros = 0;
}

/** Takes the reservation when every limit allows it, or nothing. A repeat of an open or settled one is granted and takes nothing. */
export function reserve(ledger: Ledger, wanted: Reservation, nowMs: number): ReserveResult {
  const { limits } = wanted;
  expire(ledger, nowMs);
  if (ledger.open.has(wanted.requestId) || ledger.settled.has(wanted.requestId)) return { ok: true, state: ledgerState(ledger, limits, nowMs) };

  const requests = limits.requestsPerMinute > 0 ? under(limits.requestsPerMinute, ledger.requests, nowMs) : undefined;
  const tokens = limits.tokensPerMinute > 0 ? under(limits.tokensPerMinute, ledger.tokens, nowMs) : undefined;
  const refuse = (exceeded: 'requests' | 'tokens' | 'budget', retryAfterMs: number): ReserveResult => ({
    ok: false,
    exceeded,
    retryAfterMs,
    state: ledgerState(ledger, limits, nowMs),
  });

  if (requests && requests.level < 1) return refuse('requests', untilLevel(requests, 1));
  // A request larger than the whole bucket passes when the bucket is full and leaves a debt: it would never pass otherwise.
  const needed = Math.min(wanted.tokens, limits.tokensPerMinute);
  if (tokens && tokens.level < needed) return refuse('tokens', untilLevel(tokens, needed));
  if (limits.budgetMicros > 0 && ledger.spentMicros + ledger.reservedMicros + wanted.costMicros > limits.budgetMicros) return refuse('budget', 0);

  // Without a limit there is no bucket, and a later limit starts full.
  ledger.requests = requests && { ...requests, level: requests.level - 1 };
  ledger.tokens = tokens && { ...tokens, level: tokens.level - wanted.tokens };
  ledger.reservedMicros += wanted.costMicros;
  ledger.open.set(wanted.requestId, {
    tokens: tokens ? wanted.tokens : 0,
    costMicros: wanted.costMicros,
    expiresAtMs: nowMs + wanted.ttlMs,
  });
  return { ok: true, state: ledgerState(ledger, limits, nowMs) };
}

/** Replaces the reservation by what was used. An unknown or expired one is charged what was used. The second time does nothing. */
export function settle(ledger: Ledger, requestId: string, used: { tokens: number; costMicros: number }, nowMs: number): void {
  expire(ledger, nowMs);
  if (ledger.settled.has(requestId)) return;
  ledger.tokens = add(ledger.tokens, close(ledger, requestId) - used.tokens, nowMs);
  ledger.spentMicros += used.costMicros;
  ledger.settled.set(requestId, nowMs);
  tidy(ledger);
}

/**
 * Gives an open reservation back, as for a request that leaves without a place. It does not count as settled: if it was
 * served after all, as when it was placed the moment its client left, settling charges what it used.
 */
export function giveBack(ledger: Ledger, requestId: string, nowMs: number): void {
  expire(ledger, nowMs);
  ledger.tokens = add(ledger.tokens, close(ledger, requestId), nowMs);
  tidy(ledger);
}

/** What is left at `nowMs`. Unlimited is shown as 0 remaining and 0 until reset. */
export function ledgerState(ledger: Ledger, limits: LedgerLimits, nowMs: number): LedgerState {
  expire(ledger, nowMs);
  const requests = under(limits.requestsPerMinute, ledger.requests, nowMs);
  const tokens = under(limits.tokensPerMinute, ledger.tokens, nowMs);
  return {
    remainingRequests: limits.requestsPerMinute > 0 ? Math.max(0, Math.floor(requests.level)) : 0,
    resetRequestsMs: limits.requestsPerMinute > 0 ? untilLevel(requests, limits.requestsPerMinute) : 0,
    remainingTokens: limits.tokensPerMinute > 0 ? Math.max(0, Math.floor(tokens.level)) : 0,
    resetTokensMs: limits.tokensPerMinute > 0 ? untilLevel(tokens, limits.tokensPerMinute) : 0,
    spentMicros: ledger.spentMicros,
    reservedMicros: ledger.reservedMicros,
  };
}

function untilLevel(bucket: Bucket, level: number): number {
  return Math.max(0, Math.ceil(((level - bucket.level) * minuteMs) / bucket.perMinute));
}
