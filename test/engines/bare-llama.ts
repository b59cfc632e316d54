// llama.cpp itself, in the test's own process, for what an adapter does not show: single sequences and their files.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { llamaPackage } from './llama-package.ts';

/** The part of node-llama-cpp's API (3.22) that these tests use. */
export interface BareSequence {
  readonly nextTokenIndex: number;
  evaluate(tokens: number[], options: { temperature?: number; seed?: number }): AsyncGenerator<number>;
  evaluateWithoutGeneratingNewTokens(tokens: number[]): Promise<void>;
  saveStateToFile(path: string): Promise<{ fileSize: number }>;
  loadStateFromFile(path: string, risk: { acceptRisk: true }): Promise<void>;
  dispose(): Promise<void>;
}

interface BareContext {
  getSequence(): BareSequence;
  dispose(): Promise<void>;
}

interface BareModel {
  tokenize(text: string): number[];
  detokenize(tokens: number[]): string;
  createContext(options: Record<string, unknown>): Promise<BareContext>;
  dispose(): Promise<void>;
}

interface BareGrammar {
  /** Whether a text is a whole answer. The package's own, for its tests. */
  _testText(text: string): boolean;
}

interface BareLlama {
  createGrammar(options: { grammar: string }): Promise<BareGrammar>;
  loadModel(options: { modelPath: string; gpuLayers: 0 }): Promise<BareModel>;
  dispose(): Promise<void>;
}

export async function bareLlama(): Promise<BareLlama> {
  const entry = join(llamaPackage!, 'node_modules/node-llama-cpp/dist/index.js');
  const { getLlama } = (await import(pathToFileURL(entry).href)) as { getLlama(options: Record<string, unknown>): Promise<BareLlama> };
  return getLlama({ gpu: false, build: 'never', skipDownload: true, progressLogs: false, logLevel: 'error', logger: () => {}, maxThreads: 0 });
}

export function bareContext(model: BareModel, options: { sequences: number; flashAttention?: boolean }): Promise<BareContext> {
  const { sequences, flashAttention = false } = options;
  return model.createContext({ contextSize: 1024, sequences, threads: 1, batchSize: 64, flashAttention, failedCreationRemedy: false });
}

/** The next tokens after `history`, of which the sequence has computed a part already. Takes the most probable each time. */
export async function continued(sequence: BareSequence, history: readonly number[], count: number): Promise<number[]> {
  const tokens: number[] = [];
  for await (const token of sequence.evaluate(history.slice(sequence.nextTokenIndex), { temperature: 0 })) {
    tokens.push(token);
    if (tokens.length === count) break;
  }
  return tokens;
}
