// What one process wants kept of a trace, the others export too: traces worth keeping are told on the bus.
import { tracesKept } from '../contracts.ts';
import type { Bus } from '../ports/bus.ts';
import type { KeptTraces } from '../telemetry/kept-traces.ts';

export function shareKeptTraces(bus: Bus, kept: KeptTraces): { stop(): Promise<void> } {
  // Our own notices come back as well; a trace that was looked up already costs one more look.
  const subscription = bus.subscribe(tracesKept, [], ({ traceIds }) => {
    kept.heard(traceIds);
  });
  kept.tellOthers((traceIds) => bus.publish(tracesKept, [], { traceIds: [...traceIds] }));
  return {
    async stop() {
      kept.flush();
      kept.tellOthers(() => {});
      await subscription.stop();
    },
  };
}
