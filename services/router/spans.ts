// The spans of a decision: route, and below it filter, score and pick. They hang in the request's own trace, whichever
// batch the request came in.
import type { Stage } from '../../core/routing/decide.ts';
import type { Attributes, Span, Telemetry } from '../../lib/ports/telemetry.ts';
import type { RequestInfo, RouteResult } from '../../proto/gen/messages.ts';

export interface BatchSpans {
  stageOf(request: RequestInfo): Stage;
  /** Ends the spans of the batch. */
  end(results: readonly RouteResult[]): void;
}

export function spansOfBatch(telemetry: Telemetry): BatchSpans {
  const spans = new Map<string, Span>();
  return {
    stageOf(request) {
      const span = telemetry.start('route', {
        attributes: {
          'switchyard.request.id': request.requestId,
          'switchyard.pool': request.pool,
          'switchyard.epoch': request.epoch,
          'switchyard.generated_tokens': request.generatedTokens,
          // `switchyard explain <request>` shows the record of this decision: the one for this epoch.
          'switchyard.decision.id': `${request.requestId}@${request.epoch + 1}`,
        },
        ...(request.traceparent === '' ? {} : { parent: { traceparent: request.traceparent } }),
      });
      spans.set(request.requestId, span);
      return (name, run) => telemetry.span(name, { parent: span.context }, (stage) => run((facts) => stage.set(attributesOf(facts))));
    },
    end(results) {
      for (const { requestId, assignment, refusal } of results) {
        const span = spans.get(requestId);
        if (!span) continue;
        spans.delete(requestId);
        if (assignment) span.set({ 'switchyard.instance.id': assignment.instanceId });
        if (refusal) span.set({ 'switchyard.code': refusal.code });
        span.end();
      }
      for (const span of spans.values()) span.end();
    },
  };
}

function attributesOf(facts: Readonly<Record<string, string | number>>): Attributes {
  const { instance, ...rest } = facts;
  const named = Object.fromEntries(Object.entries(rest).map(([name, value]) => [`switchyard.${name}`, value]));
  return instance === undefined ? named : { ...named, 'switchyard.instance.id': instance };
}
