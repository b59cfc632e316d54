// One engine, whatever it is, as its agent sees it. An adapter turns its own engine's API into this. Calls never block
// and never throw for an expected "no": they give a Refusal.
import type { InstanceStatus, OpenStream, Refusal, StreamEvent } from '../../proto/gen/messages.ts';

/**
 * What an engine can do beyond generating. How a running sequence leaves it with its KV: `kv_export` (blocks, stage by stage
 * while it decodes on), `kv_state` (one state that the target loads and then follows), `kv_pull` (the target's engine fetches
 * it from the source's). Without it: `recompute` (continue from a token log). `prefix_cache`; `kv_events` (says which blocks it
 * caches); `continue:<need>` for what it restores in a continuation (core/openai/continuation.ts). Shown to operators only:
 * `token_ids`, `metrics`, `pause`, `prefill_decode`, `slots`.
 */
export type Capability =
  | 'kv_export'
  | 'kv_state'
  | 'kv_pull'
  | 'recompute'
  | 'prefix_cache'
  | 'kv_events'
  | 'token_ids'
  | 'metrics'
  | 'pause'
  | 'prefill_decode'
  | 'slots'
  | `continue:${string}`;

/** A stream to open, without what concerns only the connection that asked for it. */
export type GenerateRequest = Omit<OpenStream, 'stream' | 'instanceId'>;

/** What a step gave to one sequence. Ids count per request, not per connection. */
export type EngineEvent = Omit<StreamEvent, 'stream'> & { readonly requestId: string };

/** Things that happen to a sequence besides its tokens, for spans and status reports. */
export interface LifecycleEvent {
  readonly requestId: string;
  readonly epoch: number;
  readonly type: 'admitted' | 'preempted' | 'paused' | 'resumed' | 'released';
}

export interface EngineHooks {
  /** All tokens of one engine step, or of one call when they need no step. */
  readonly onEvents: (events: readonly EngineEvent[]) => void;
  readonly onLifecycle: (event: LifecycleEvent) => void;
  /** Queue, batch, reservations or capacity have changed: a status report is due. */
  readonly onChange: () => void;
}

/** The engine's part of a status report. */
export type EngineStatus = Pick<
  InstanceStatus,
  | 'totalBlocks'
  | 'freeBlocks'
  | 'blockTokens'
  | 'running'
  | 'waiting'
  | 'waitingBlocks'
  | 'headBlocks'
  | 'reservedBlocks'
  | 'maxRunning'
  | 'maxWaiting'
  | 'stepMs'
  | 'stepModel'
  | 'sequences'
  | 'preemptions'
  | 'tokensOut'
  | 'cachedBlocks'
  | 'profile'
  | 'kvBytesPerToken'
  | 'maxContextTokens'
  | 'software'
  | 'kvFormat'
> & {
  /** Totals since start: engine steps, and tokens computed that were not output (prompts, and what was computed again). */
  readonly steps: number;
  readonly tokensIn: number;
  /** When the engine's own metrics were read, Unix ms. Absent: it has none, or they are too old, and all is counted by the adapter. */
  readonly loadAtMs?: number;
};

export interface EngineAdapter {
  readonly engine: InstanceStatus['engine'];
  /** May grow and shrink: an engine that is restarted can be another version. */
  readonly supports: ReadonlySet<Capability>;
  /** Settled when the engine can take requests, or with why it never will. Until then it gets none. Absent: at once. */
  readonly ready?: Promise<Refusal | undefined>;
  /** Why it gets no requests now, for engines that may be away and come back; `onChange` tells that it is another answer. */
  unfit?(): Refusal | undefined;
  status(): EngineStatus;
  /** Starts, continues or takes over; with `held`, it waits for `hold(…, false)`. The caller never opens the same (request, epoch) twice. */
  open(request: GenerateRequest, held: boolean): Refusal | undefined;
  /** Ends a sequence without an event: at once while it waits, else at the end of the running step. Unknown ones are fine. */
  cancel(requestId: string, epoch: number): void;
  /** Stops and restarts a sequence whose reader is slow. It keeps its blocks. */
  hold(requestId: string, epoch: number, held: boolean): void;
  /** Sequences that have not ended. */
  readonly size: number;
  /**
   * With `kv_events`: hashes of leading prompt blocks (core/routing/prefix-hash.ts) that are cached now, the most useful last;
   * `version` grows with every change. Undefined: not known at the moment.
   */
  cachedPrefixes?(): { readonly version: number; readonly hashes: readonly number[] } | undefined;
  /** With `kv_export`, `kv_state` or `kv_pull` only. */
  readonly kv?: KvAdapter;
  /** Asks the engine for a token that nobody sees: what it says instead of one. Ends within a second, and never throws. */
  probe(): Promise<Refusal | undefined>;
  /** For trying out what follows: the engine answers this to everything new; undefined: it is itself again. Simulated engines only. */
  pretend?(answer: Refusal | undefined): void;
  /** Ends everything, processes included. `audit` findings are thrown. */
  close(): void | Promise<void>;
}

/** Both ends of moving a sequence by its KV blocks. */
export interface KvAdapter {
  /**
   * Source: what a stage has to send. With `last` the sequence is paused first (the promise waits for the running step)
   * and resumes by itself after the lease. Refused: `unknown_request`, `stale_epoch`, `sequence_finished`, `sequence_preempted`.
   */
  beginStage(options: {
    requestId: string;
    epoch: number;
    reservationId: string;
    last: boolean;
    pauseLeaseMs: number;
  }): Promise<StageSource | Refusal>;
  /** Source: frees the sequence (committed) or lets it go on. Repeats, unknown requests and other epochs change nothing. */
  release(requestId: string, epoch: number, committed: boolean): Refusal | undefined;

  /** Target: holds blocks. Idempotent by id. Refused: `target_full`. */
  reserve(options: ReservationRequest): { transferToken: string } | Refusal;
  /** Target: the reservation that a connection belongs to. Refused: `unknown_reservation`, `permission_denied`. */
  incoming(reservationId: string, transferToken: string): StageTarget | Refusal;
  dropReservation(reservationId: string): void;
}

export interface ReservationRequest {
  readonly reservationId: string;
  readonly requestId: string;
  readonly epoch: number;
  readonly blocks: number;
  readonly ttlMs: number;
  readonly purpose: 'migration' | 'cache';
  /** Proves to this side later that the transfer was agreed. Used if the reservation is new. */
  readonly transferToken: string;
}

export interface BlockVersion {
  readonly block: number;
  /** Tokens in the block. */
  readonly version: number;
}

export interface StageSource {
  readonly blockBytes: number;
  /** Blocks to send, as far as the target has not got them. */
  readonly blocks: readonly BlockVersion[];
  /** Of all blocks that the target must have after this stage; 0 for one that is not part of it. */
  readonly versions: readonly number[];
  /** Encoded SequenceState: with the last stage, and with every stage of `kv_state`. */
  readonly state: Uint8Array;
  readonly nextIndex: number;
  readonly pausedAtMs: number;
  /** The bytes of a range of a block, to be sent before anything else runs. @throws SwitchyardError when the sequence has ended or lost its blocks meanwhile */
  read(block: number, offset: number, bytes: number): Uint8Array;
  /** The target has confirmed the stage. Gives the blocks written since, or why it came to nothing. */
  confirmed(): { blocksRemaining: number } | Refusal;
  /**
   * `kv_state`, after a stage was confirmed: every token produced since goes to `send`, until the last stage, the end of the
   * sequence, or the returned function.
   */
  tail?(send: (firstIndex: number, tokenIds: readonly number[]) => void): () => void;
}

export interface StageTarget {
  /** Blocks that are here whole. */
  have(): readonly BlockVersion[];
  /** A checked piece. Repeats and older versions are harmless. */
  write(piece: { block: number; offset: number; blockBytes: number; version: number; payload: Uint8Array }): Refusal | undefined;
  /** Which blocks are missing; when none is, the stage is in place. Repeats are harmless, while one is being put in place too. */
  commit(
    versions: readonly number[],
    last: boolean,
    state: Uint8Array,
  ): { missing: readonly number[] } | Refusal | Promise<{ missing: readonly number[] } | Refusal>;
  /** `kv_state`: tokens that the source has produced meanwhile, to be computed already. What is known or leaves a gap changes nothing. */
  follow?(firstIndex: number, tokenIds: readonly number[]): void;
}
