// How long a step takes. The engine charges `stepMs`; router and tracker predict with the linear model that instances
// report. A step reads the weights once, whatever it mixes, so the larger of the two bases is charged once.
import type { StepModel } from '../../proto/gen/messages.ts';

export interface StepCoefficients {
  readonly prefillBaseMs: number;
  readonly prefillPerTokenMs: number;
  /** Attention within the prompt: cost grows with the square of its length. */
  readonly prefillPerTokenSquaredMs: number;
  readonly decodeBaseMs: number;
  readonly decodePerSequenceMs: number;
}

/** Part of a prompt computed in one step: `tokens` new ones after `before` computed ones. */
export interface PrefillChunk {
  readonly before: number;
  readonly tokens: number;
}

/** Duration of a step in milliseconds. 0 when it has nothing to do. */
export function stepMs(c: StepCoefficients, decoding: number, chunks: readonly PrefillChunk[]): number {
  if (decoding === 0 && chunks.length === 0) return 0;
  const base = Math.max(decoding > 0 ? c.decodeBaseMs : 0, chunks.length > 0 ? c.prefillBaseMs : 0);
  let ms = base + decoding * c.decodePerSequenceMs;
  for (const { before, tokens } of chunks) {
    ms += tokens * c.prefillPerTokenMs + tokens * (2 * before + tokens) * c.prefillPerTokenSquaredMs;
  }
  return ms;
}

/** Milliseconds until a prompt of `tokens` uncached tokens is computed, alone on the engine. */
export function predictPrefillMs(model: StepModel, tokens: number): number {
  return tokens <= 0 ? 0 : model.prefillBaseMs + tokens * model.prefillPerTokenMs;
}

/** Milliseconds of a decode step of `batch` sequences: what each of them waits for its next token. */
export function predictDecodeMs(model: StepModel, batch: number): number {
  return batch <= 0 ? 0 : model.decodeBaseMs + batch * model.decodePerSequenceMs;
}

/** The parabola through three measured points. */
export function fitPrefill(tokens: readonly [number, number, number], ms: readonly [number, number, number]) {
  const [n1, n2, n3] = tokens;
  const slope12 = (ms[1] - ms[0]) / (n2 - n1);
  const slope23 = (ms[2] - ms[1]) / (n3 - n2);
  const perTokenSquaredMs = (slope23 - slope12) / (n3 - n1);
  const perTokenMs = slope12 - perTokenSquaredMs * (n1 + n2);
  return { baseMs: ms[0] - n1 * perTokenMs - n1 * n1 * perTokenSquaredMs, perTokenMs, perTokenSquaredMs };
}

/** The line of least squares through measured points. */
export function fitDecode(batches: readonly number[], ms: readonly number[]) {
  const count = batches.length;
  const meanBatch = batches.reduce((sum, batch) => sum + batch, 0) / count;
  const meanMs = ms.reduce((sum, value) => sum + value, 0) / count;
  let covariance = 0;
  let variance = 0;
  for (let i = 0; i < count; i++) {
    covariance += (batches[i]! - meanBatch) * (ms[i]! - meanMs);
    variance += (batches[i]! - meanBatch) ** 2;
  }
  const perSequenceMs = covariance / variance;
  return { baseMs: meanMs - meanBatch * perSequenceMs, perSequenceMs };
}
