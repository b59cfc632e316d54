// Every workflow by the name it is started with: the entry point of the bundle.
export { approval } from './approval/workflow.ts';
export { drainInstance } from './drain-instance/workflow.ts';
export { migrateRequest } from './migrate-request/workflow.ts';
export { scalePool } from './scale-pool/workflow.ts';
export { transferKv } from './transfer-kv/workflow.ts';
