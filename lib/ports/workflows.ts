// Long-lived operations. Production: Temporal; twin: runs the same bodies in memory.
import type { ActivityImplementations } from '../../core/workflows/activities.ts';
import type { WorkflowInputs, WorkflowName, WorkflowResults } from '../../core/workflows/catalogue.ts';

export interface WorkflowSummary {
  readonly id: string;
  readonly name: WorkflowName;
  readonly status: 'running' | 'completed' | 'failed' | 'cancelled' | 'terminated' | 'timed_out';
  readonly startedAtMs: number;
  readonly closedAtMs: number | undefined;
  /** One line about what it is for; empty for one of an earlier version. */
  readonly summary: string;
}

export interface WorkflowFilter {
  readonly name?: WorkflowName;
  readonly running?: boolean;
  /** What it is about: ids. */
  readonly request?: string | undefined;
  readonly instance?: string | undefined;
  readonly pool?: string | undefined;
}

export interface HostingOptions {
  /** Makes, or finds, the workflow code and returns its path. Called by implementations that run it in a sandbox. */
  readonly bundle?: () => Promise<string>;
  /** Activities of all workflows that may run at a time in this process. More wait. */
  readonly maxActivities?: number;
}

/** Workflows and activities being run by this process. */
export interface Hosting {
  /** True, or the reason why not yet (or no longer). */
  ready(): true | string;
  /** Takes nothing new, lets running activities end within `withinMs`, then aborts them: they are tried again elsewhere. */
  stop(withinMs: number): Promise<void>;
}

export interface Workflows {
  /**
   * Starts a workflow once per id: false when one with this id runs already or has run.
   * @throws SwitchyardError `workflows_unavailable`
   */
  start<N extends WorkflowName>(name: N, id: string, input: WorkflowInputs[N]): Promise<boolean>;
  /** Waits for the end. @throws SwitchyardError `workflow_failed` | `workflows_unavailable` */
  result<N extends WorkflowName>(name: N, id: string): Promise<WorkflowResults[N]>;
  /** @throws SwitchyardError `workflow_not_found` | `workflows_unavailable` */
  describe(id: string): Promise<WorkflowSummary>;
  /** @throws SwitchyardError `workflow_not_found` | `workflows_unavailable` */
  query<T>(id: string, query: string): Promise<T>;
  /** A validated, synchronous change. @throws SwitchyardError with the validator's code when it refuses */
  update<T>(id: string, update: string, argument: unknown): Promise<T>;
  cancel(id: string): Promise<void>;
  /** Newest first. @throws SwitchyardError `invalid_request` (what is no id) | `workflows_unavailable` */
  list(filter: WorkflowFilter & { limit: number }): Promise<WorkflowSummary[]>;
  /** Runs workflows and activities here until stopped. Keeps trying while the engine is away, and says so in `ready`. */
  host(activities: ActivityImplementations, options?: HostingOptions): Hosting;
  connected(): boolean;
  close(): Promise<void>;
}
