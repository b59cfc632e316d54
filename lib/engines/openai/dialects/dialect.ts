// What differs between servers that speak the OpenAI API: where they say what they are, how busy they are and whether they
// take requests, and which of their extensions a continuation can use.
import type { ServerClient } from '../client.ts';
import type { Samples } from '../exposition.ts';
import type { ServerFacts, ServerKind } from '../facts.ts';

/** As its metrics say; undefined: they do not. */
export interface ServerLoad {
  readonly running: number | undefined;
  readonly waiting: number | undefined;
  /** Share of the KV blocks in use, 0 to 1. */
  readonly kvUsage: number | undefined;
  /** Totals since it was started. */
  readonly preemptions: number | undefined;
  readonly totalBlocks?: number | undefined;
  readonly blockTokens?: number | undefined;
}

export interface Dialect {
  readonly kind: ServerKind;
  /** Metrics that are read, whole names. */
  readonly metricNames: readonly string[];
  load(samples: Samples): ServerLoad;
  /** What only this kind can tell. @throws SwitchyardError `unreachable` | `timeout` */
  ask(client: ServerClient, model: string): Promise<Partial<ServerFacts>>;
  /** Asked together with its health: why it takes nothing, or undefined. @throws SwitchyardError `unreachable` | `timeout` */
  stopped?(client: ServerClient): Promise<string | undefined>;
  /** What stands for token ids in an answer to a client that did not ask for them. */
  readonly untoldIds: 'null' | 'absent';
  /** Whether ids are asked for; generic servers may refuse what they do not know. */
  readonly asksForIds: boolean;
}

/** Long enough for a server that computes meanwhile. */
export const askWithinMs = 5_000;
