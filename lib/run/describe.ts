// What every process answers about itself: who it is and whether it is ready, and the spans it keeps. Used by
// run-service.ts for one service and by the embedded mode for each of its services.
import { describeServices, findSpans } from '../contracts.ts';
import type { Bus } from '../ports/bus.ts';
import type { Identity } from '../ports/ports.ts';
import type { SpanSource } from '../telemetry/span-ring.ts';

export interface DescribeOptions {
  readonly bus: Bus;
  readonly service: string;
  readonly identity: Identity;
  readonly version: string;
  readonly startedAtMs: number;
  readonly ready: () => true | string;
  readonly owns: () => readonly string[];
  /** Where /metrics is served; absent: nowhere. */
  readonly probeAddress?: string;
  /** Absent where another service of the same process answers with the same spans. */
  readonly spans?: SpanSource;
}

/** A reply must fit into one message of the bus; spans beyond this are left out, the latest first. */
const replyBytes = 600_000;
/** What a span takes besides its attributes. */
const spanBytes = 300;

export function serveDescription(options: DescribeOptions): { stop(): Promise<void> } {
  const { bus, service, identity, version, startedAtMs, spans } = options;
  const subscriptions = [
    bus.serve(describeServices, [], () => {
      const ready = options.ready();
      return {
        service,
        id: identity.id,
        pid: identity.pid,
        startedAtMs,
        ready: ready === true,
        notReadyBecause: ready === true ? '' : ready,
        owns: [...options.owns()],
        version,
        probeAddress: options.probeAddress ?? '',
      };
    }),
  ];
  if (spans) {
    subscriptions.push(
      bus.serve(findSpans, [], (query) => {
        let bytes = 0;
        const found = spans.find(query).filter((span) => {
          bytes += spanBytes + span.attributesJson.length;
          return bytes <= replyBytes;
        });
        return { spans: found };
      }),
    );
  }
  return {
    async stop() {
      await Promise.all(subscriptions.map((subscription) => subscription.stop()));
    },
  };
}
