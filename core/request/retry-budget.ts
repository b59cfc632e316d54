// How many requests a gateway may try again because an engine turned them away before it gave a token. Each request earns
// a share of a retry, up to a burst: whatever the engines do, there are at most `burst + share * requests` of these. Every
// gateway keeps to it, so the fleet does, with as many bursts as there are gateways. What an instance has begun is
// continued elsewhere without asking: its client has tokens already.

export interface RetryLimits {
  /** Retries that one request earns. */
  readonly share: number;
  /** Retries saved up at most, and to begin with. */
  readonly burst: number;
}

export interface RetryBudget {
  readonly limits: RetryLimits;
  readonly left: number;
}

export function newBudget(limits: RetryLimits): RetryBudget {
  return { limits, left: limits.burst };
}

/** A request has come. */
export function earned({ limits, left }: RetryBudget): RetryBudget {
  return { limits, left: Math.min(limits.burst, left + limits.share) };
}

export function mayRetry({ left }: RetryBudget): boolean {
  return left >= 1;
}

/** A request is tried again. */
export function spent({ limits, left }: RetryBudget): RetryBudget {
  return { limits, left: left - 1 };
}
