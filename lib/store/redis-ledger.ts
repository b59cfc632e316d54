// What is asked of an API key's ledger in Redis. All that is asked in one turn is one call of the script, in the order it was
// asked: loading and saving the ledger, and a command to Redis, cost more than what is done to it.
import type { Clock } from '../ports/clock.ts';
import type { LedgerLimits, LedgerState } from '../ports/store.ts';
import { settledMemoryMs } from './ledger.ts';
import { runScript, type Scripted } from './redis-connection.ts';
import { ledgerKeys } from './redis-keys.ts';
import * as scripts from './redis-scripts.ts';

export interface LedgerQuestion {
  readonly operation: 'reserve' | 'settle' | 'giveBack' | 'read';
  readonly keyId: string;
  /** Without them nothing is refused. */
  readonly limits?: LedgerLimits;
  readonly requestId?: string;
  readonly tokens?: number;
  readonly costMicros?: number;
  readonly ttlMs?: number;
}

export interface LedgerAnswer {
  readonly outcome: 'ok' | 'requests' | 'tokens' | 'budget';
  readonly retryAfterMs: number;
  readonly state: LedgerState;
}

/** In one call, which keeps Redis from others for about as many times 10 us. */
export const questionsPerCall = 128;

interface Call {
  readonly questions: LedgerQuestion[];
  readonly answers: Promise<readonly string[]>;
}

/** @throws what Redis or the connection throws, to everybody whose question was in the call */
export function createRedisLedger(clock: Clock): (redis: Scripted, question: LedgerQuestion) => Promise<LedgerAnswer> {
  /** By key; each is open until the end of this turn's microtasks. */
  const open = new Map<string, Call>();

  function callFor(redis: Scripted, keyId: string): Call {
    const found = open.get(keyId);
    if (found && found.questions.length < questionsPerCall) return found;
    const questions: LedgerQuestion[] = [];
    const call = { questions, answers: Promise.resolve().then(() => send()) };
    async function send(): Promise<readonly string[]> {
      if (open.get(keyId) === call) open.delete(keyId);
      const args = [clock.now(), settledMemoryMs, ...questions.flatMap(argumentsOf)];
      return (await runScript(redis, scripts.ledger, ledgerKeys(keyId), args)) as string[];
    }
    open.set(keyId, call);
    return call;
  }

  return async (redis, question) => {
    const call = callFor(redis, question.keyId);
    const index = call.questions.push(question) - 1;
    return answerOf((await call.answers)[index]!);
  };
}

function argumentsOf({ operation, limits, requestId = '', tokens = 0, costMicros = 0, ttlMs = 0 }: LedgerQuestion): (string | number)[] {
  const { requestsPerMinute, tokensPerMinute, budgetMicros } = limits ?? unlimited;
  return [operation, requestsPerMinute, tokensPerMinute, budgetMicros, requestId, tokens, costMicros, ttlMs];
}

const unlimited: LedgerLimits = { requestsPerMinute: 0, tokensPerMinute: 0, budgetMicros: 0 };

function answerOf(answer: string): LedgerAnswer {
  const [outcome, ...numbers] = answer.split(' ');
  const [retryAfterMs = 0, remainingRequests = 0, resetRequestsMs = 0, remainingTokens = 0, resetTokensMs = 0, spentMicros = 0, reservedMicros = 0] =
    numbers.map(Number);
  return {
    outcome: outcome as LedgerAnswer['outcome'],
    retryAfterMs,
    state: { remainingRequests, resetRequestsMs, remainingTokens, resetTokensMs, spentMicros, reservedMicros },
  };
}
