// Time limits of the activities. The worker's configuration fills them in; docs of each are there.

export interface ActivitySettings {
  /** One question to an agent, gateway, coordinator or tracker, ms. */
  readonly askMs: number;
  /** One copy stage, ms. */
  readonly stageMs: number;
  /** The hand-over at the gateway, ms; the source is paused meanwhile. */
  readonly handOverMs: number;
  /** How long the cut-over itself asks for a lost outcome, ms. */
  readonly outcomeMs: number;
  /** Starting or stopping one instance, ms. */
  readonly launchMs: number;
  /** Moves of one drain that run at a time. */
  readonly parallelMoves: number;
  /** How long approvals stay listed, ms. */
  readonly approvalsKeptMs: number;
}
