// Admission's dealings with the ledger: reserve at the first admission, give back what left without an instance, settle
// what has ended. All idempotent by request id in the store, so repeats by any replica are fine.
import { actualUse, estimatedUse, isLimited, type KeyLimits, limitRefusal, limitState, type TokenPrice } from '../../core/admission/limits.ts';
import { refusal } from '../../core/errors/switchyard-error.ts';
import type { Store } from '../../lib/ports/store.ts';
import type { Telemetry } from '../../lib/ports/telemetry.ts';
import type { LimitState, Refusal, RequestDone, RequestInfo } from '../../proto/gen/messages.ts';
import type { AdmissionConfig } from './config.ts';
import type { KeyLimitsReader } from './key-limits.ts';

export interface Reserved {
  readonly held: boolean;
  readonly limits: LimitState | null;
  readonly refusal: Refusal | null;
}

export interface Ledger {
  /** Never rejects: a store that is away admits or refuses, as configured. */
  reserve(request: RequestInfo): Promise<Reserved>;
  /** Best effort: the reservation runs out by itself. What the request uses after all is charged when it is settled. */
  refund(request: RequestInfo): Promise<void>;
  /** @throws SwitchyardError `store_unavailable`: the event is delivered again */
  settle(ended: readonly RequestDone[]): Promise<void>;
}

export function createLedger(options: { config: AdmissionConfig; store: Store; telemetry: Telemetry; keyLimits: KeyLimitsReader }): Ledger {
  const { config, store, telemetry, keyLimits } = options;
  const prices = new Map(config.fleet.pools.map(({ id, price }): [string, TokenPrice] => [id, price]));
  const free: TokenPrice = { inputMicros: 0, outputMicros: 0 };
  const priceOf = (pool: string) => prices.get(pool) ?? free;

  async function take(request: RequestInfo, limits: KeyLimits): Promise<Reserved> {
    const { requestId, keyId, pool } = request;
    const wanted = estimatedUse(request, priceOf(pool));
    const result = await store.reserve({ keyId, requestId, ...wanted, limits, ttlMs: config.reservationTtlMs });
    const state = isLimited(limits) ? limitState(limits, result.state) : null;
    if (result.ok) return { held: true, limits: state, refusal: null };
    return { held: false, limits: state, refusal: limitRefusal(result.exceeded, limits, result.retryAfterMs) };
  }

  return {
    async reserve(request) {
      try {
        return await take(request, await keyLimits.read(request.keyId));
      } catch (thrown) {
        telemetry.log.warn('limits not checked, store unavailable', { request: request.requestId, error: String(thrown) });
        const no = config.whenStoreAway === 'refuse' ? refusal('store_unavailable', 'limits cannot be checked now', 1_000) : null;
        return { held: false, limits: null, refusal: no };
      }
    },
    async refund({ keyId, requestId }) {
      try {
        await store.giveBack(keyId, requestId);
      } catch (thrown) {
        telemetry.log.warn('reservation not given back', { request: requestId, error: String(thrown) });
      }
    },
    async settle(ended) {
      await Promise.all(
        ended.map(async (done) => {
          if (done.keyId !== '') await store.settle(done.keyId, done.requestId, actualUse(done, priceOf(done.pool)));
        }),
      );
    },
  };
}
