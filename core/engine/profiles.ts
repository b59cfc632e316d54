// What is known of real engines: one row per (model, GPU, tensor parallel degree), and the step coefficients fitted from it.
//
// Source of every row: NVIDIA AIConfigurator 0.12.0 (ai-dynamo/aiconfigurator, Apache-2.0), vLLM 0.24.0, bf16, composed
// from profiled operators: without scheduler and launch gaps, so a lower bound. Prefill: one request, cold cache, whole
// prompt. Decode: one step of the whole batch at 1,024 tokens of context per sequence.
import type { StepModel } from '../../proto/gen/messages.ts';
import { fitDecode, fitPrefill, type StepCoefficients } from './step-model.ts';

export interface EngineFacts {
  readonly model: string;
  readonly gpu: string;
  readonly tensorParallel: number;
  /** Milliseconds for a prompt of 512, 2,048 and 8,192 tokens. */
  readonly prefillMs: readonly [number, number, number];
  /** Milliseconds of a decode step with 1, 16 and 64 sequences. */
  readonly decodeMs: readonly [number, number, number];
}

export const engineFacts = {
  'llama-3.1-8b-h100': {
    model: 'llama-3.1-8b',
    gpu: 'H100-80G-SXM',
    tensorParallel: 1,
    prefillMs: [12.02, 43.51, 199.72],
    decodeMs: [6.18, 7.51, 10.35],
  },
  'llama-3.1-8b-h200': {
    model: 'llama-3.1-8b',
    gpu: 'H200-141G-SXM',
    tensorParallel: 1,
    prefillMs: [11.48, 43.4, 198.87],
    decodeMs: [4.86, 5.78, 7.57],
  },
  'llama-3.1-8b-l40s': {
    model: 'llama-3.1-8b',
    gpu: 'L40S-48G',
    tensorParallel: 1,
    prefillMs: [38.27, 144.89, 699.83],
    decodeMs: [21.98, 24.99, 38.27],
  },
  'llama-3.1-70b-h100x4': {
    model: 'llama-3.1-70b',
    gpu: 'H100-80G-SXM',
    tensorParallel: 4,
    prefillMs: [37.31, 130.18, 576.76],
    decodeMs: [14.86, 16.37, 19.09],
  },
  'qwen3-32b-h100x2': {
    model: 'qwen3-32b',
    gpu: 'H100-80G-SXM',
    tensorParallel: 2,
    prefillMs: [30.09, 107.19, 475.97],
    decodeMs: [13.42, 15.21, 18.84],
  },
} as const satisfies Record<string, EngineFacts>;

export type ProfileName = keyof typeof engineFacts;

export function isProfile(name: string): name is ProfileName {
  return Object.hasOwn(engineFacts, name);
}

/** Step coefficients of a profile in milliseconds; `speed` 0.5 takes twice as long. */
export function coefficientsOf(name: ProfileName, speed = 1): StepCoefficients {
  const facts = engineFacts[name];
  const prefill = fitPrefill([512, 2048, 8192], facts.prefillMs);
  const decode = fitDecode([1, 16, 64], facts.decodeMs);
  return {
    prefillBaseMs: prefill.baseMs / speed,
    prefillPerTokenMs: prefill.perTokenMs / speed,
    prefillPerTokenSquaredMs: prefill.perTokenSquaredMs / speed,
    decodeBaseMs: decode.baseMs / speed,
    decodePerSequenceMs: decode.perSequenceMs / speed,
  };
}

/** The linear model that instances report, exact at a prompt of 2,048 tokens. */
export function reportedStepModel(coefficients: StepCoefficients): StepModel {
  return {
    prefillBaseMs: coefficients.prefillBaseMs,
    prefillPerTokenMs: coefficients.prefillPerTokenMs + 2048 * coefficients.prefillPerTokenSquaredMs,
    decodeBaseMs: coefficients.decodeBaseMs,
    decodePerSequenceMs: coefficients.decodePerSequenceMs,
  };
}
