// Engines between which requests move in tests, with requests whose answers are known: of simulated engines they can be computed, of
// llama.cpp's they are what the same fleet says while nothing happens to it. The model is one that gives the same logits in any batch.
import { Agent, request as post } from 'undici';
import type { ReplayedRequest } from '../../cli/replay/send.ts';
import { cacheFolder } from '../../infra/setup/machine-facts.ts';
import { modelFile } from '../../infra/setup/random-model.ts';
import { llamaPackage } from '../engines/llama-package.ts';

export interface MovingEngines {
  readonly name: string;
  readonly pool: Readonly<Record<string, unknown>>;
  readonly agentSettings: Readonly<Record<string, unknown>>;
  readonly coordinatorSettings: Readonly<Record<string, unknown>>;
  /** Before the first request: learns the answers, of the first `count`. */
  learn(url: string, apiKey: string, count: number): Promise<void>;
  /** `label` may be in the prompt. */
  request(label: string, index: number): ReplayedRequest;
}

const price = { inputMicros: 2, outputMicros: 10 };

function simulated(): MovingEngines {
  const model = 'llama-3.1-8b';
  return {
    name: 'simulated engines',
    pool: {
      models: [model],
      price,
      sim: { profile: 'llama-3.1-8b-h100', speed: 0.13, blocks: 4096, kvBytesPerToken: 1024, maxRunning: 128, maxWaiting: 64 },
    },
    agentSettings: {},
    coordinatorSettings: {},
    learn: () => Promise.resolve(),
    request: (label, index) => ({ model, prompt: `${label}.${index}: ${'word '.repeat(500)}`, outputTokens: 120, sloClass: 'default' }),
  };
}

async function llamaCpp(): Promise<MovingEngines> {
  const model = 'words';
  const file = await modelFile('exact', cacheFolder());
  const answers: string[] = [];
  const asked = (index: number) => ({
    model,
    prompt: `Request ${index}: ${'the river opened early and the piece was late '.repeat(3)}`,
    outputTokens: 1_000,
    sloClass: 'default',
    fields: { temperature: 0.8, seed: index + 1, ignore_eos: true },
  });
  return {
    name: 'llama.cpp',
    pool: { models: [model], price, engine: 'llama', llama: { model: 'random:exact', contextTokens: 2048, maxRunning: 24, maxWaiting: 64 } },
    agentSettings: { llamaPackage, models: { 'random:exact': file } },
    // Their states are small: they are followed all the same.
    coordinatorSettings: { followFromBytes: 0 },
    async learn(url, apiKey, count) {
      const dispatcher = new Agent();
      const one = async (index: number) => {
        const { prompt, outputTokens, fields } = asked(index);
        const { statusCode, body } = await post(`${url}/v1/completions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` },
          body: JSON.stringify({ model, prompt, max_tokens: outputTokens, ...fields }),
          dispatcher,
        });
        const answer = (await body.json()) as { choices?: readonly { text: string }[] };
        if (statusCode !== 200) throw new Error(`no answer to learn from: ${statusCode} ${JSON.stringify(answer)}`);
        answers[index] = answer.choices![0]!.text;
      };
      await Promise.all(Array.from({ length: count }, (_, index) => one(index)));
      await dispatcher.close();
    },
    request: (_, index) => ({ ...asked(index), expectedText: answers[index]! }),
  };
}

/** Those that are here: llama.cpp's only with its package. */
export async function movingEngines(): Promise<MovingEngines[]> {
  return [simulated(), ...(llamaPackage === undefined ? [] : [await llamaCpp()])];
}
