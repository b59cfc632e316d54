// What a workflow body may do besides calling activities. Temporal and the in-memory twin each provide one, so that a
// body is a plain async function that runs the same in both.
//
// Everything a body awaits (activities, sleep, condition, child) throws SwitchyardError `cancelled` once the workflow
// is cancelled, unless it runs inside `shielded`.
import { SwitchyardError } from '../errors/switchyard-error.ts';
import type { WorkflowInputs, WorkflowName, WorkflowResults } from './catalogue.ts';

export interface WorkflowControl {
  readonly workflowId: string;
  /** Unix milliseconds; the same on every replay. */
  now(): number;
  sleep(delayMs: number): Promise<void>;
  /** Waits until `holds()` is true. False: it was not within `timeoutMs`. `holds` must only read what the body changes. */
  condition(holds: () => boolean, timeoutMs: number): Promise<boolean>;
  /** Runs to its end even when the workflow is cancelled: for cleaning up and past points of no return. */
  shielded<T>(run: () => Promise<T>): Promise<T>;
  /** A synchronous change from outside. What `validate` throws refuses it and leaves no trace in the history. */
  handleUpdate<A, R>(name: string, handle: (argument: A) => R, validate?: (argument: A) => void): void;
  handleQuery<R>(name: string, handle: () => R): void;
  /** Starts another workflow and waits for its end. It is cancelled with this one. */
  child<N extends WorkflowName>(name: N, id: string, input: WorkflowInputs[N]): Promise<WorkflowResults[N]>;
  /** Adds a sentence to the workflow's story: what people read who look at it (core/workflows/story.ts). */
  tell(line: string): void;
  log(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** What an activity is told by its host. */
export interface ActivityContext {
  /** The workflow's id. */
  readonly workflowId: string;
  /** From 1. */
  readonly attempt: number;
  /** What the previous attempt passed to `heartbeat` last. */
  readonly lastHeartbeat: unknown;
  /** Says that the activity lives and how far it is. Missing it for the policy's `heartbeatMs` starts the next attempt. */
  heartbeat(progress: unknown): void;
  /** Aborts when the workflow is cancelled or the host shuts down. */
  readonly signal: AbortSignal;
}

export function isCancelled(thrown: unknown): boolean {
  return thrown instanceof SwitchyardError && thrown.code === 'cancelled';
}

/** The code of anything thrown into a body. */
export function codeOf(thrown: unknown): string {
  return thrown instanceof SwitchyardError ? thrown.code : 'internal';
}
