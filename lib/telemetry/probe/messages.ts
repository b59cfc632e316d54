// What the main thread and the probe thread tell each other.

export interface ProbeStart {
  readonly host: string;
  readonly port: number;
  /** One 64-bit number: when the main loop last ran, Unix milliseconds. */
  readonly heartbeat: SharedArrayBuffer;
  /** A main loop that is silent for longer is reported as unhealthy. */
  readonly unhealthyAfterMs: number;
}

export type ToProbe =
  | { readonly type: 'state'; readonly ready: true | string }
  /** The answer to the `scrape` of that number, and once at the start as number 0. */
  | { readonly type: 'metrics'; readonly number: number; readonly text: string; readonly atMs: number }
  | { readonly type: 'close' };

export type FromProbe =
  | { readonly type: 'listening'; readonly port: number }
  /** Somebody wants the metrics. */
  | { readonly type: 'scrape'; readonly number: number }
  | { readonly type: 'failed'; readonly code: string; readonly message: string };
