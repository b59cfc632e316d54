// What the adapter and the process with the engine say to each other. Order is kept both ways; when the process dies, all
// that was asked is answered by its end.
import type { Foreseen } from '../foreseen.ts';

export interface LoadOptions {
  /** Folder whose node_modules has node-llama-cpp. */
  readonly packageDir: string;
  readonly modelFile: string;
  /** Of one sequence. */
  readonly contextTokens: number;
  readonly sequences: number;
  readonly threads: number;
  /** 0: the CPU computes alone. */
  readonly gpuLayers: number;
  /** Prompt tokens computed in a step. */
  readonly prefillChunk: number;
  readonly flashAttention: boolean;
  /** Where a short saved sequence is written, for its form. Not for a model whose KV cannot be kept in part. */
  readonly sample: string;
}

/** What an answer has to keep to, token by token: a grammar in GBNF. */
export type Grammar = string;

export interface Sampling {
  /** 0: always the likeliest token. */
  readonly temperature: number;
  /** 0: all. */
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  /** Of the request: each position has its own, made of this. */
  readonly seed: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  /** 1: none. */
  readonly repetitionPenalty: number;
  readonly logitBias: readonly (readonly [tokenId: number, bias: number])[];
  readonly ignoreEos: boolean;
  readonly grammar: Grammar | undefined;
}

export type PromptSource =
  | { readonly kind: 'text'; readonly text: string }
  | {
      readonly kind: 'chat';
      readonly messages: readonly unknown[];
      readonly template: Readonly<Record<string, unknown>>;
      readonly continues: boolean;
    };

/** A question, answered by a `reply` with the same number. */
export type Question =
  | { readonly type: 'prompt'; readonly source: PromptSource; readonly grammar: Grammar | undefined }
  /** At a token boundary: the sequence is written to a file; with `pause` it computes nothing any more until `resume`. */
  | { readonly type: 'save'; readonly id: number; readonly path: string; readonly pause: boolean }
  | { readonly type: 'pause'; readonly id: number }
  /** Answered when a sequence that follows has at most so many tokens to compute, or is no more. */
  | { readonly type: 'caught_up'; readonly id: number; readonly within: number }
  /** Fills a slot that no sequence uses. */
  | { readonly type: 'load'; readonly slot: number; readonly path: string }
  | { readonly type: 'probe' };

export type Order =
  | {
      readonly type: 'start';
      readonly id: number;
      readonly slot: number;
      /** Prompt, then output so far. What the slot holds of it already is not computed again, if it may be reused. */
      readonly tokens: readonly number[];
      readonly promptTokens: number;
      /** Prompt and output at the end. */
      readonly maxTokens: number;
      readonly reuse: boolean;
      readonly held: boolean;
      readonly sampling: Sampling;
      /** The one that has followed another engine in this slot, and ends. Undefined: none has. */
      readonly goesOnFrom: number | undefined;
    }
  /** Computes tokens that another engine produces, beyond what the slot holds. With `sampling` it foresees the one after them. */
  | {
      readonly type: 'follow';
      readonly id: number;
      readonly slot: number;
      readonly tokens: readonly number[];
      readonly promptTokens: number;
      readonly sampling: Sampling | undefined;
    }
  | { readonly type: 'feed'; readonly id: number; readonly tokens: readonly number[] }
  | { readonly type: 'stop'; readonly id: number }
  | { readonly type: 'hold'; readonly id: number; readonly held: boolean }
  | { readonly type: 'resume'; readonly id: number };

export type ToChild =
  | { readonly type: 'load_model'; readonly options: LoadOptions }
  | { readonly type: 'ask'; readonly call: number; readonly question: Question }
  | Order;

export interface Vocabulary {
  /** Bytes of all tokens, one after the other; control tokens have none. */
  readonly bytes: Uint8Array;
  /** Where each token ends. */
  readonly ends: Uint32Array;
}

/** What the engine is, known once the model is loaded. */
export interface EngineFacts {
  /** Of llama.cpp, and of the package. */
  readonly release: string;
  readonly packageVersion: string;
  /** Flags of the CPU that the arithmetic depends on. */
  readonly systemInfo: string;
  readonly modelSha256: string;
  readonly architecture: string;
  readonly layers: number;
  /** Numbers of a key, and of a value, of one token in one layer. */
  readonly keyWidth: number;
  readonly valueWidth: number;
  readonly kvBytesPerToken: number;
  readonly vocabularySize: number;
  readonly trainedTokens: number;
  /** A part of a sequence's KV can be kept, and all of it saved. */
  readonly plainKv: boolean;
  /** Empty: it has none. */
  readonly chatTemplate: string;
  /** Times of first steps. */
  readonly warmUp: { readonly prefillTokens: number; readonly prefillMs: number; readonly decodeMs: number };
}

export interface StepReport {
  readonly type: 'step';
  readonly ms: number;
  /** Sequences that decoded, and tokens of prompts that were computed. */
  readonly decoded: number;
  readonly prefilled: number;
  /** New tokens: of sequence `ids[i]`. */
  readonly ids: readonly number[];
  readonly tokens: readonly number[];
  /** Sequences that have ended by themselves: their last token said so and is not among the new ones. */
  readonly stopped: readonly number[];
  /** Of sequences that follow; none where it would end the answer. */
  readonly foreseen: readonly ({ readonly id: number } & Foreseen)[];
  /** Sequences whose computing failed. */
  readonly failed: readonly { readonly id: number; readonly message: string }[];
  /** Sequences that have begun since the step before: tokens found in their slot. */
  readonly begun: readonly { readonly id: number; readonly kept: number }[];
}

export type Answer =
  | { readonly type: 'prompt'; readonly tokens: readonly number[] }
  | { readonly type: 'saved'; readonly tokens: number; readonly bytes: number }
  | { readonly type: 'done' }
  /** `invalid_request`: it was asked wrongly. `unknown_request`: no such sequence. `engine_error`: the engine could not. */
  | { readonly type: 'no'; readonly code: 'invalid_request' | 'unknown_request' | 'engine_error'; readonly message: string };

export type FromChild =
  | { readonly type: 'loaded'; readonly facts: EngineFacts; readonly vocabulary: Vocabulary }
  | { readonly type: 'cannot_load'; readonly message: string }
  | { readonly type: 'reply'; readonly call: number; readonly answer: Answer }
  | StepReport;
