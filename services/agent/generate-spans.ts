// One `engine.generate` span per stream, in the request's own trace: first token, pauses, end, usage.

import { ChurnMap } from '../../core/collections/churn-map.ts';
import type { Clock } from '../../lib/ports/clock.ts';
import type { EngineEvent, LifecycleEvent } from '../../lib/ports/engines.ts';
import type { Span, Telemetry } from '../../lib/ports/telemetry.ts';
import type { OpenStream } from '../../proto/gen/messages.ts';
import type { EndReason } from './actor.ts';

export interface GenerateSpans {
  begin(open: OpenStream, facts: { pool: string; model: string; engine: string }): void;
  spoken(events: readonly EngineEvent[]): void;
  lifecycle(event: LifecycleEvent): void;
  end(requestId: string, epoch: number, why: EndReason): void;
}

interface Open {
  readonly span: Span;
  readonly openedMs: number;
  spoke: boolean;
}

export function createGenerateSpans(telemetry: Telemetry, clock: Clock): GenerateSpans {
  // Bounded by the streams that are open: every one ends.
  const open = new ChurnMap<string, Open>();
  const keyOf = (requestId: string, epoch: number) => `${requestId}@${epoch}`;

  return {
    begin(stream, { pool, model, engine }) {
      const openedMs = clock.now();
      const span = telemetry.start('engine.generate', {
        kind: 'server',
        parent: stream.traceparent ? { traceparent: stream.traceparent } : undefined,
        attributes: {
          'gen_ai.operation.name': stream.endpoint === 'completions' ? 'text_completion' : 'chat',
          'gen_ai.provider.name': engine,
          'gen_ai.request.model': model,
          'gen_ai.request.max_tokens': stream.maxOutputTokens,
          'gen_ai.request.stream': stream.clientStreams,
          'switchyard.request.id': stream.requestId,
          'switchyard.instance.id': stream.instanceId,
          'switchyard.pool': pool,
          'switchyard.epoch': stream.epoch,
          'switchyard.gateway.id': stream.gatewayId,
          'switchyard.reservation.id': stream.reservationId || undefined,
          'switchyard.generated_tokens': stream.resumeTokenIds.length,
          'switchyard.next_index': stream.nextIndex,
        },
      });
      open.set(keyOf(stream.requestId, stream.epoch), { span, openedMs, spoke: false });
    },

    spoken(events) {
      for (const event of events) {
        const found = open.get(keyOf(event.requestId, event.epoch));
        if (!found) continue;
        if (!found.spoke && event.tokenIds.length > 0) {
          found.spoke = true;
          found.span.set({ 'gen_ai.response.time_to_first_chunk': (clock.now() - found.openedMs) / 1000 });
          found.span.event('first token', { 'switchyard.next_index': event.index });
        }
        if (event.error) found.span.fail(event.error.code, event.error.message);
        if (event.finishReason !== '' && event.usage) {
          found.span.set({
            'gen_ai.response.finish_reasons': event.finishReason,
            'gen_ai.usage.input_tokens': event.usage.promptTokens,
            'gen_ai.usage.output_tokens': event.usage.outputTokens,
            'gen_ai.usage.cache_read.input_tokens': event.usage.cachedTokens,
          });
        }
      }
    },

    lifecycle({ requestId, epoch, type }) {
      open.get(keyOf(requestId, epoch))?.span.event(type);
    },

    end(requestId, epoch, why) {
      const key = keyOf(requestId, epoch);
      const found = open.get(key);
      if (!found) return;
      open.delete(key);
      found.span.event('finish', { 'switchyard.reason': why });
      found.span.end();
    },
  };
}
