// What goes with a saved sequence, so that the other side can tell whether its engine may load it. llama.cpp itself accepts in
// silence a state of other weights, and one with flipped bits.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { refusal } from '../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../proto/gen/messages.ts';
import { type StateShape, shapeDifference } from './state-file/state-file.ts';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.int().min(0);

const factsSchema = z.strictObject({
  /** Of llama.cpp, for example v0.5.0. */
  release: z.string().min(1).max(100),
  /** What the engine uses of the processor, in its own words: other instructions add in another order. */
  cpuFlags: z.string().max(2000),
  modelSha256: sha256,
  flashAttention: z.boolean(),
  shape: z.strictObject({
    layers: count,
    kType: count,
    vType: count,
    kCellBytes: count,
    vCellBytes: count,
    vTransposed: z.boolean(),
  }),
});

const envelopeSchema = z.strictObject({
  version: z.literal(1),
  facts: factsSchema,
  /** Of the context that it was saved from. */
  contextTokens: count,
  sequences: count,
  /** Tokens whose KV is in the state. */
  tokenCount: z.int().min(1),
  blobBytes: count,
  blobSha256: sha256,
});

/** What two engines must have in common for a state to go from one to the other. */
export interface EngineFacts extends z.infer<typeof factsSchema> {
  readonly shape: StateShape;
}

export interface Envelope extends z.infer<typeof envelopeSchema> {
  readonly facts: EngineFacts;
}

/** An engine that a state comes to. */
export interface EngineHere {
  readonly facts: EngineFacts;
  readonly contextTokens: number;
}

/** Bytes of an encoded envelope; more is refused unread. */
const maxEnvelopeBytes = 8192;

export function encodeEnvelope(envelope: Envelope): Uint8Array {
  return Buffer.from(JSON.stringify(envelope));
}

/** Refused: `corrupt_kv`. */
export function decodeEnvelope(bytes: Uint8Array): Envelope | Refusal {
  if (bytes.length > maxEnvelopeBytes) return refusal('corrupt_kv', `an envelope of ${bytes.length} bytes; ${maxEnvelopeBytes} is the most`);
  let read: unknown;
  try {
    read = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'));
  } catch {
    return refusal('corrupt_kv', 'the envelope of the state cannot be read');
  }
  const parsed = envelopeSchema.safeParse(read);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  return refusal('corrupt_kv', `the envelope of the state is not of version 1: ${issue!.path.join('.')} ${issue!.message}`);
}

/** The envelope of a saved state: `from` is the context that it was saved from. */
export function envelopeOf(from: { facts: EngineFacts; contextTokens: number; sequences: number }, blob: Uint8Array, tokenCount: number): Envelope {
  const { facts, contextTokens, sequences } = from;
  return { version: 1, facts, contextTokens, sequences, tokenCount, blobBytes: blob.length, blobSha256: hashOf(blob) };
}

/**
 * Why a state may not be loaded here; undefined: it may, as far as the envelope says. Refused: `transfer_failed` when the
 * engines differ, `kv_too_large` when the context is too small for another token.
 */
export function checkEnvelope(envelope: Envelope, here: EngineHere): Refusal | undefined {
  const there = envelope.facts;
  for (const key of ['release', 'modelSha256', 'flashAttention', 'cpuFlags'] as const) {
    if (there[key] !== here.facts[key])
      return refusal('transfer_failed', `the state is of an engine with another ${names[key]}: ${there[key]}; here: ${here.facts[key]}`);
  }
  const difference = shapeDifference(there.shape, here.facts.shape);
  if (difference) return refusal('transfer_failed', `the state has another shape: ${difference}`);
  if (envelope.tokenCount >= here.contextTokens)
    return refusal('kv_too_large', `the state has ${envelope.tokenCount} tokens, the context here holds ${here.contextTokens}`);
  return undefined;
}

const names = { release: 'release of llama.cpp', modelSha256: 'model', flashAttention: 'setting of flash attention', cpuFlags: 'processor' };

/** Whether a blob is the one that the envelope was written for. Refused: `corrupt_kv`. */
export function checkBlob(envelope: Envelope, blob: Uint8Array): Refusal | undefined {
  if (blob.length !== envelope.blobBytes) return refusal('corrupt_kv', `the state has ${blob.length} bytes, ${envelope.blobBytes} were sent`);
  if (hashOf(blob) !== envelope.blobSha256) return refusal('corrupt_kv', 'the state arrived damaged: its checksum is wrong');
  return undefined;
}

/** The compatibility key: instances with the same one can load each other's states. */
export function kvFormatOf({ release, cpuFlags, modelSha256, flashAttention, shape }: EngineFacts): string {
  const { layers, kType, vType, kCellBytes, vCellBytes, vTransposed } = shape;
  const told = [modelSha256, release, cpuFlags, flashAttention, layers, kType, vType, kCellBytes, vCellBytes, vTransposed];
  return `llama:${hashOf(Buffer.from(JSON.stringify(told))).slice(0, 16)}`;
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
