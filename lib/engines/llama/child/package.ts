// The part of node-llama-cpp that is used here, as types: the package is installed apart, and only when it is wanted.
// Two of its internals are needed and hang on its pinned version: the text of a token as the vocabulary has it, and
// feeding a token to the state of a grammar (https://node-llama-cpp.withcat.ai/api/, version 3.22).
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

export interface SampleOptions {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly seed: number;
  readonly repeatPenalty?: { punishTokens: number[]; penalty: number; presencePenalty: number; frequencyPenalty: number };
  readonly tokenBias?: TokenBias;
}

export interface Sequence {
  readonly nextTokenIndex: number;
  readonly contextTokens: number[];
  controlledEvaluate(
    input: (number | [number, { generateNext: { token: true; options: SampleOptions } }])[],
  ): Promise<({ next: { token?: number | null } } | undefined)[]>;
  evaluate(
    tokens: number[],
    options: SampleOptions & { grammarEvaluationState: GrammarState; yieldEogToken: true },
  ): AsyncGenerator<number, void, undefined>;
  eraseContextTokenRanges(ranges: { start: number; end: number }[]): Promise<void>;
  saveStateToFile(path: string): Promise<{ fileSize: number }>;
  loadStateFromFile(path: string, risk: { acceptRisk: true }): Promise<void>;
  dispose(): Promise<void>;
}

export interface Context {
  getSequence(options: { contextShift: { strategy: () => never } }): Sequence;
}

export interface TokenBias {
  /** Package's own field: `set` leaves out tokens that end the answer. */
  readonly _biases: Map<number, number>;
}

export interface GrammarState {
  readonly _state: unknown;
}

export interface Model {
  readonly tokens: {
    readonly bos: number | null;
    readonly eos: number | null;
    readonly bosString: string | null;
    readonly eosString: string | null;
    readonly shouldPrependBosToken: boolean;
  };
  readonly vocabularyType: string;
  readonly trainContextSize: number;
  readonly fileInfo: { readonly metadata: Record<string, never> };
  readonly fileInsights: { readonly isRecurrent: boolean; readonly isHybrid: boolean; readonly swaSize: number | undefined };
  readonly tokenizer: unknown;
  tokenize(text: string, specialTokens: boolean): number[];
  detokenize(tokens: number[], specialTokens?: boolean): string;
  isEogToken(token: number): boolean;
  createContext(options: {
    contextSize: number;
    sequences: number;
    threads: number;
    batchSize: number;
    flashAttention: boolean;
    failedCreationRemedy: false;
  }): Promise<Context>;
  readonly _model: { getTokenString(token: number): string; getTokenAttributes(token: number): number };
}

export interface Llama {
  readonly llamaCppRelease: { readonly release: string };
  readonly systemInfo: string;
  /** What it computes on besides the CPU. */
  readonly gpu: string | false;
  loadModel(options: { modelPath: string; gpuLayers: number }): Promise<Model>;
  createGrammar(options: { grammar: string }): Promise<unknown>;
  readonly _bindings: { readonly AddonSampler: { acceptGrammarEvaluationStateToken(state: unknown, token: number): void } };
}

export interface LlamaPackage {
  getLlama(options: {
    gpu: 'auto' | false;
    build: 'never';
    skipDownload: true;
    progressLogs: false;
    logLevel: 'error';
    logger: (level: string, message: string) => void;
    maxThreads: 0;
  }): Promise<Llama>;
  readonly TokenBias: { for(model: Model): TokenBias };
  readonly LlamaGrammarEvaluationState: new (options: { model: Model; grammar: unknown }) => GrammarState;
}

/** A template of a chat; the library of the package renders it. */
export interface ChatTemplate {
  render(values: Record<string, unknown>): string;
}

export interface LoadedPackage {
  readonly llama: LlamaPackage;
  readonly Template: new (text: string) => ChatTemplate;
}

/** @param folder whose node_modules has the package @throws Error when it is not there */
export async function loadPackage(folder: string): Promise<LoadedPackage> {
  const load = (path: string): Promise<unknown> => import(pathToFileURL(join(folder, 'node_modules', path)).href);
  const llama = (await load('node-llama-cpp/dist/index.js')) as LlamaPackage;
  const jinja = (await load('@huggingface/jinja/dist/index.js')) as Pick<LoadedPackage, 'Template'>;
  return { llama, Template: jinja.Template };
}
