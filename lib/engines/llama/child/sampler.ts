// One evaluation of one sequence, and the choice of its next token. Each step has a sampler of its own with the seed of its
// position; penalties are made again from the history, and a grammar's state from the answer so far: nothing of it would
// have to move with the sequence.
import { seedAt } from '../sampling.ts';
import type { Sampling } from './messages.ts';
import type { GrammarState, Llama, LlamaPackage, Model, SampleOptions, Sequence, TokenBias } from './package.ts';

export interface Job {
  /** Prompt, and output so far. */
  readonly history: number[];
  readonly promptTokens: number;
  readonly sampling: Sampling;
  readonly grammar: GrammarState | undefined;
  readonly bias: TokenBias | undefined;
}

/** Grammars kept compiled. */
const maxGrammars = 64;

export class Sampler {
  readonly #package: LlamaPackage;
  readonly #llama: Llama;
  readonly #model: Model;
  readonly #grammars = new Map<string, unknown>();

  constructor(given: { readonly package: LlamaPackage; readonly llama: Llama; readonly model: Model }) {
    this.#package = given.package;
    this.#llama = given.llama;
    this.#model = given.model;
  }

  /** @throws Error when the grammar cannot be read, or does not allow what was said already */
  async job(history: number[], promptTokens: number, sampling: Sampling): Promise<Job> {
    const grammar = sampling.grammar === undefined ? undefined : await this.#grammarState(sampling.grammar, history.slice(promptTokens));
    let bias: TokenBias | undefined;
    if (sampling.logitBias.length > 0) {
      bias = this.#package.TokenBias.for(this.#model);
      for (const [token, value] of sampling.logitBias) bias._biases.set(token, value);
    }
    return { history, promptTokens, sampling, grammar, bias };
  }

  /** @throws Error when it cannot be read */
  async compile(text: string): Promise<unknown> {
    const known = this.#grammars.get(text);
    if (known) return known;
    const grammar = await this.#llama.createGrammar({ grammar: text });
    this.#grammars.set(text, grammar);
    if (this.#grammars.size > maxGrammars) this.#grammars.delete(this.#grammars.keys().next().value!);
    return grammar;
  }

  /** Computes `tokens`; with `samples` gives the token after them. */
  async evaluate(sequence: Sequence, job: Job, tokens: number[], samples: boolean): Promise<number | undefined> {
    if (!samples) {
      await sequence.controlledEvaluate(tokens);
      return undefined;
    }
    const options = this.#optionsAt(job);
    if (job.grammar) {
      // The other way of evaluating takes no grammar. Its first token is all that is asked of it.
      const generated = sequence.evaluate(tokens, { ...options, grammarEvaluationState: job.grammar, yieldEogToken: true });
      const { value } = await generated.next();
      await generated.return();
      if (typeof value !== 'number') throw new Error('the engine gave no token');
      return value;
    }
    const results = await sequence.controlledEvaluate([...tokens.slice(0, -1), [tokens.at(-1)!, { generateNext: { token: true, options } }]]);
    const token = results.at(-1)?.next.token;
    if (typeof token !== 'number') throw new Error('the engine gave no token');
    return token;
  }

  /** Whether a token says that the answer is over. */
  ends(job: Job, token: number): boolean {
    return !job.sampling.ignoreEos && this.#model.isEogToken(token);
  }

  #optionsAt({ history, promptTokens, sampling, bias }: Job): SampleOptions {
    const { temperature, topK, topP, minP, presencePenalty, frequencyPenalty, repetitionPenalty, seed } = sampling;
    const options = { temperature, topK, topP, minP, seed: seedAt(seed, history.length), ...(bias ? { tokenBias: bias } : {}) };
    if (presencePenalty === 0 && frequencyPenalty === 0 && repetitionPenalty === 1) return options;
    // Repetition counts the prompt too, as vLLM does it; presence and frequency count the answer alone, as OpenAI does.
    const punishTokens = repetitionPenalty === 1 ? history.slice(promptTokens) : history.slice();
    return { ...options, repeatPenalty: { punishTokens, penalty: repetitionPenalty, presencePenalty, frequencyPenalty } };
  }

  async #grammarState(text: string, said: readonly number[]): Promise<GrammarState> {
    const grammar = await this.compile(text);
    const state = new this.#package.LlamaGrammarEvaluationState({ model: this.#model, grammar });
    for (const token of said) this.#llama._bindings.AddonSampler.acceptGrammarEvaluationStateToken(state._state, token);
    return state;
  }
}
