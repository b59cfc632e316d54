// The span of a decision, with an event for what was filtered and one for the pick. It hangs in the request's own trace,
// whichever batch the request came in.
import type { DecisionNotes } from '../../core/routing/decide.ts';
import type { Span, Telemetry } from '../../lib/ports/telemetry.ts';
import type { RequestInfo, RouteResult } from '../../proto/gen/messages.ts';

export interface BatchSpans {
  notesOf(request: RequestInfo): DecisionNotes;
  /** Ends the spans of the batch. */
  end(results: readonly RouteResult[]): void;
}

export function spansOfBatch(telemetry: Telemetry): BatchSpans {
  const spans = new Map<string, Span>();
  return {
    notesOf(request) {
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
      return {
        filtered: ({ candidates, kept, dropped }) =>
          span.event('filtered', { 'switchyard.candidates': candidates, 'switchyard.kept': kept, 'switchyard.dropped': dropped }),
        picked: ({ instanceId, reason, score, top }) =>
          span.event('picked', {
            'switchyard.instance.id': instanceId,
            'switchyard.reason': reason,
            'switchyard.score': score,
            'switchyard.top': top,
          }),
      };
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
