// Settings of the console.
import { z } from 'zod';
import { fleetSchema } from '../../lib/config/fleet.ts';

export const consoleSchema = z.strictObject({
  host: z.string().default('127.0.0.1').describe('address that the operator API listens on; it answers operators, keep it private'),
  port: z.int().min(0).max(65_535).default(8090).describe('port of the operator API; 0 takes a free one'),
  gatherMs: z.int().min(10).max(10_000).default(300).describe('how long answers of several processes are collected, ms'),
  askMs: z.int().min(100).max(60_000).default(5_000).describe('limit for one question to one service, ms'),
  fleet: fleetSchema,
});
export type ConsoleConfig = z.infer<typeof consoleSchema>;
