// A server of which nothing is known but that it speaks the OpenAI API: everything is counted on this side.
import type { Dialect } from './dialect.ts';

export const generic: Dialect = {
  kind: 'generic',
  metricNames: [],
  asksForIds: true,
  untoldIds: 'absent',
  load: () => ({ running: undefined, waiting: undefined, kvUsage: undefined, preemptions: undefined }),
  ask: async () => ({}),
};
