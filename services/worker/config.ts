// Settings of the worker.
import { z } from 'zod';

export const workerSchema = z
  .strictObject({
    bundlePath: z
      .string()
      .default('')
      .describe('file with the bundled workflows (workflows/bundle.ts makes it); empty: .switchyard/, made at the first start'),
    maxActivities: z.int().min(1).max(10_000).default(100).describe('activities that run at a time in this process; more wait'),
    askMs: z.number().min(50).max(5_000).default(1_500).describe('one question to an agent, gateway, coordinator or tracker, ms'),
    stageMs: z.number().min(100).max(600_000).default(30_000).describe('one copy stage of a migration, ms'),
    handOverMs: z.number().min(20).max(10_000).default(1_000).describe('the hand-over at the gateway, ms; the source is paused meanwhile'),
    outcomeMs: z
      .number()
      .min(0)
      .max(40_000)
      .default(5_000)
      .describe('how long the cut-over itself asks for the outcome of a hand-over whose answer was lost, ms'),
    launchMs: z.number().min(100).max(14_000).default(10_000).describe('starting or stopping one instance, ms'),
    parallelMoves: z.int().min(1).max(100).default(4).describe('moves of one drain that run at a time'),
    approvalsKeptMs: z
      .number()
      .min(60_000)
      .max(31_536_000_000)
      .default(2_592_000_000)
      .describe('how long approvals stay listed after their last change, ms; the audit log keeps them longer'),
    maxVotes: z.int().min(1).max(1_000).default(32).describe('votes on one approval that wait at a time; more are refused'),
  })
  .refine((c) => c.askMs < 5_000 && c.outcomeMs + c.handOverMs < 60_000, {
    message: 'questions must fit into the activities that ask them',
    path: ['outcomeMs'],
  });
export type WorkerConfig = z.infer<typeof workerSchema>;
