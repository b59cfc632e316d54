// Long-lived operations. Production: Temporal; twin: runs the same bodies in memory.
import type { WorkflowInputs, WorkflowName, WorkflowResults } from '../../core/workflows/catalogue.ts';

export interface WorkflowSummary {
  readonly id: string;
  readonly name: WorkflowName;
  readonly status: 'running' | 'completed' | 'failed' | 'cancelled' | 'terminated' | 'timed_out';
  readonly startedAtMs: number;
  readonly closedAtMs: number | undefined;
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
  query<T>(id: string, query: string): Promise<T>;
  /** A validated, synchronous change. @throws SwitchyardError with the validator's code when it refuses */
  update<T>(id: string, update: string, argument: unknown): Promise<T>;
  cancel(id: string): Promise<void>;
  list(filter: { name?: WorkflowName; running?: boolean; limit: number }): Promise<WorkflowSummary[]>;
  connected(): boolean;
  close(): Promise<void>;
}
