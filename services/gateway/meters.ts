// What the gateway counts and measures.

import type { RequestState } from '../../core/request/request-state.ts';
import { outputTokens as outputTokensOf } from '../../core/request/token-log.ts';
import type { Telemetry } from '../../lib/ports/telemetry.ts';
import type { Exchange } from './exchange.ts';
import { operationNames } from './exchange.ts';

export interface Meters {
  dropped(reason: string): void;
  failover(pool: string, reason: string): void;
  /** A request that was turned away before it had an actor. */
  turnedAway(code: string): void;
  ended(exchange: Exchange, state: RequestState, endMs: number): void;
  active(counts: ReadonlyMap<string, number>): void;
}

export function createMeters(telemetry: Telemetry): Meters {
  const requests = telemetry.counter('switchyard_requests_total');
  const activeRequests = telemetry.gauge('switchyard_requests_active');
  const ttft = telemetry.histogram('switchyard_request_ttft_seconds');
  const tpot = telemetry.histogram('switchyard_request_tpot_seconds');
  const e2e = telemetry.histogram('switchyard_request_e2e_seconds');
  const overhead = telemetry.histogram('switchyard_overhead_seconds');
  const promptTokens = telemetry.counter('switchyard_prompt_tokens_total');
  const outputTokens = telemetry.counter('switchyard_output_tokens_total');
  const failovers = telemetry.counter('switchyard_failovers_total');
  const droppedTokens = telemetry.counter('switchyard_tokens_dropped_total');
  const clientsLeft = telemetry.counter('switchyard_clients_left_total');
  const genAiDuration = telemetry.histogram('gen_ai_server_request_duration_seconds');
  const genAiTtft = telemetry.histogram('gen_ai_server_time_to_first_token_seconds');
  const genAiTpot = telemetry.histogram('gen_ai_server_time_per_output_token_seconds');
  const genAiTokens = telemetry.histogram('gen_ai_client_token_usage');

  return {
    dropped: (reason) => droppedTokens.add(1, { reason }),
    failover: (pool, reason) => failovers.add(1, { pool, reason }),
    turnedAway: (code) => requests.add(1, { model: '', pool: '', outcome: 'refused', code }),

    ended(exchange, state, endMs) {
      const { model, pool, sloClass: slo_class, arrivalMs } = exchange.facts.info;
      const { outcome, code } = state.ending!;
      const operation = { gen_ai_operation_name: operationNames[exchange.endpoint], gen_ai_request_model: model };
      const prompt = state.usage?.promptTokens ?? exchange.facts.info.promptTokens;
      const output = outputTokensOf(state.log, state.usage);
      requests.add(1, { model, pool, outcome, code });
      if (outcome === 'aborted') clientsLeft.add(1, { state: output > 0 ? 'streaming' : state.epoch > 0 ? 'opening' : 'queued' });
      if (exchange.openedAtMs > 0) overhead.observe((exchange.openedAtMs - arrivalMs) / 1000, { pool });
      genAiDuration.observe((endMs - arrivalMs) / 1000, { ...operation, error_type: code });
      if (output === 0) return;
      promptTokens.add(prompt, { model, pool });
      outputTokens.add(output, { model, pool });
      const labels = { model, pool, slo_class };
      const ttftS = (state.firstTokenMs - arrivalMs) / 1000;
      ttft.observe(ttftS, labels);
      e2e.observe((state.lastTokenMs - arrivalMs) / 1000, labels);
      genAiTtft.observe(ttftS, operation);
      genAiTokens.observe(prompt, { ...operation, gen_ai_token_type: 'input' });
      genAiTokens.observe(output, { ...operation, gen_ai_token_type: 'output' });
      if (output < 2) return;
      const tpotS = (state.lastTokenMs - state.firstTokenMs) / 1000 / (output - 1);
      tpot.observe(tpotS, labels);
      genAiTpot.observe(tpotS, operation);
    },

    active(counts) {
      for (const [pool, count] of counts) activeRequests.set(count, { pool });
    },
  };
}
