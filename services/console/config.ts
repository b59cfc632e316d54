// Settings of the console.
import { z } from 'zod';
import { fleetSchema } from '../../lib/config/fleet.ts';
import { httpTlsSettings } from '../../lib/config/http-tls.ts';

export const consoleSchema = z.strictObject({
  host: z.string().default('127.0.0.1').describe('address that the operator API listens on; it answers operators, keep it private'),
  port: z.int().min(0).max(65_535).default(8090).describe('port of the operator API; 0 takes a free one'),
  ...httpTlsSettings,
  auth: z
    .enum(['auto', 'open', 'keys'])
    .default('auto')
    .describe('keys: everybody needs a key; open: who asks only says a name, a key that is presented counts; auto: open on loopback, keys beyond'),
  rootKeySha256: z
    .string()
    .regex(/^([0-9a-f]{64})?$/, 'the SHA-256 of a key, 64 hexadecimal digits')
    .default('')
    .describe('hash of the key "root-key", which may do everything and makes the keys of people; empty: there is none'),
  allowedHosts: z
    .array(z.string().min(1))
    .max(100)
    .default([])
    .describe('names besides localhost under which an open operator API may be asked; guards against web pages that point a name here'),
  keyTtlMs: z.int().min(10).max(1_000).default(900).describe('how long a key is believed when its revocation was not heard, ms'),
  keyGraceMs: z.int().min(0).max(86_400_000).default(600_000).describe('how long a known key is believed while the store is away, ms'),
  maxKeys: z.int().min(16).max(100_000).default(1_000).describe('keys remembered'),
  gatherMs: z.int().min(10).max(10_000).default(300).describe('how long answers of several processes are collected, ms'),
  askMs: z.int().min(100).max(60_000).default(5_000).describe('limit for one question to one service, ms'),
  fleet: fleetSchema,
});
export type ConsoleConfig = z.infer<typeof consoleSchema>;
