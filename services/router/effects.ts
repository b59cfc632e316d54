// What the router's effects do.
import type { ChurnMap } from '../../core/collections/churn-map.ts';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { prefixBlockBytes } from '../../core/routing/prefix-hash.ts';
import type { Telemetry } from '../../lib/ports/telemetry.ts';
import type { RouteReply, RouteResult } from '../../proto/gen/messages.ts';
import type { RouterEffect } from './actor.ts';
import type { Announcements } from './announcements.ts';
import type { DecisionLog } from './decision-log.ts';

export interface PendingAnswer {
  resolve(reply: Omit<RouteReply, 'meta'>): void;
  reject(thrown: unknown): void;
}

export interface EffectContext {
  readonly telemetry: Telemetry;
  readonly announcements: Announcements;
  readonly decisions: DecisionLog;
  /** Questions under way: answered in the same turn, so never more than one batch of the bus. */
  readonly asks: ChurnMap<number, PendingAnswer>;
}

export function perform(effect: RouterEffect, context: EffectContext): void {
  switch (effect.type) {
    case 'answer':
      answer(effect.ask, effect.results, context);
      break;
    case 'refuse': {
      const message = `the queue of pool ${effect.pool} has an owner of epoch ${effect.newest}`;
      take(effect.ask, context)?.reject(new SwitchyardError('stale_epoch', message));
      break;
    }
    case 'announce':
      context.announcements.add(effect.booking);
      break;
    case 'record':
      record(effect, context);
  }
}

function answer(ask: number, results: readonly RouteResult[], context: EffectContext): void {
  take(ask, context)?.resolve({ results });
}

function take(ask: number, { asks }: EffectContext): PendingAnswer | undefined {
  const pending = asks.get(ask);
  asks.delete(ask);
  return pending;
}

function record({ record: decision }: Extract<RouterEffect, { type: 'record' }>, { telemetry, decisions }: EffectContext): void {
  const pool = decision.request?.pool ?? '';
  telemetry.counter('switchyard_routing_decisions_total').add(1, { pool, result: decision.reason });
  const promptTokens = decision.request?.promptTokens ?? 0;
  const hit = decision.candidates.find(({ instanceId }) => instanceId === decision.instanceId)?.input;
  if (hit && promptTokens > 0) {
    const ratio = Math.min(1, (hit.prefixBlocks * prefixBlockBytes) / 4 / promptTokens);
    telemetry.histogram('switchyard_prefix_hit_ratio').observe(ratio, { pool });
  }
  decisions.write(decision);
}
