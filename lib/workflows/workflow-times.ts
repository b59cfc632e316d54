// Times that whoever starts a workflow and whoever starts its children must agree on.

/**
 * What a worker took and did not finish goes to another one after this, ms: a killed worker is replaced as fast. Local
 * activities that take longer report in meanwhile. Temporal's default is twice as long.
 */
export const workflowTaskTimeoutMs = 5_000;
