// The process with one engine: loads the package and the model, then does what the adapter asks (messages.ts). When the
// adapter's process is gone, so is this one.
import { createHash } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Answer, EngineFacts, FromChild, LoadOptions, Question, ToChild } from './messages.ts';
import { type ChatTemplate, type Context, type Llama, loadPackage, type Model } from './package.ts';
import { promptTokens } from './prompt.ts';
import { Sampler } from './sampler.ts';
import { StepLoop, shiftNever } from './step-loop.ts';
import { vocabularyOf } from './vocabulary.ts';

interface Engine {
  readonly model: Model;
  readonly template: ChatTemplate | undefined;
  readonly sampler: Sampler;
  readonly loop: StepLoop;
}

const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0, presencePenalty: 0, frequencyPenalty: 0, repetitionPenalty: 1 };
const followSampling = { ...greedy, logitBias: [], ignoreEos: true, grammar: undefined };
/** What the engine said last, for the message when it cannot be loaded. */
const log: string[] = [];

const say = (message: FromChild) => void process.send?.(message);

process.on('disconnect', () => process.exit(0));
// Ctrl-C reaches every process of a terminal; when this one ends is the agent's business.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});

let engine: Engine | undefined;

process.on('message', (message: ToChild) => {
  switch (message.type) {
    case 'load_model':
      load(message.options).then(
        (loaded) => (engine = loaded),
        (thrown) => {
          say({ type: 'cannot_load', message: [messageOf(thrown), ...log].join('; ').slice(0, 2000) });
          process.disconnect();
        },
      );
      return;
    case 'ask':
      void answer(engine!, message.question)
        .catch((thrown): Answer => ({ type: 'no', code: 'engine_error', message: messageOf(thrown) }))
        .then((reply) => say({ type: 'reply', call: message.call, answer: reply }));
      return;
    default:
      obey(engine!, message);
  }
});

function obey({ loop, sampler }: Engine, order: Exclude<ToChild, { type: 'load_model' | 'ask' }>): void {
  switch (order.type) {
    case 'start':
      loop.begin({ ...order, generates: true, foresees: false, make: () => sampler.job([...order.tokens], order.promptTokens, order.sampling) });
      return;
    case 'follow':
      loop.begin({
        ...{ id: order.id, slot: order.slot, maxTokens: Number.POSITIVE_INFINITY, held: false, reuse: true, goesOnFrom: undefined },
        ...{ generates: false, foresees: order.sampling !== undefined },
        make: () => sampler.job([...order.tokens], order.promptTokens, order.sampling ?? followSampling),
      });
      return;
    case 'feed':
      loop.feed(order.id, order.tokens);
      return;
    case 'stop':
      loop.stop(order.id);
      return;
    case 'hold':
      loop.hold(order.id, order.held);
      return;
    case 'resume':
      loop.resume(order.id);
  }
}

async function answer({ model, template, sampler, loop }: Engine, question: Question): Promise<Answer> {
  switch (question.type) {
    case 'prompt':
      try {
        if (question.grammar !== undefined) await sampler.compile(question.grammar);
        return { type: 'prompt', tokens: promptTokens(model, template, question.source) };
      } catch (thrown) {
        return { type: 'no', code: 'invalid_request', message: messageOf(thrown) };
      }
    case 'save': {
      const saved = await loop.save(question.id, question.path, question.pause);
      return saved ? { type: 'saved', ...saved } : unknownSequence;
    }
    case 'pause':
      return (await loop.pause(question.id)) ? { type: 'done' } : unknownSequence;
    case 'caught_up':
      await loop.caughtUp(question.id, question.within);
      return { type: 'done' };
    case 'load':
      await loop.load(question.slot, question.path);
      return { type: 'done' };
    case 'probe':
      await loop.probe();
      return { type: 'done' };
  }
}

const unknownSequence: Answer = { type: 'no', code: 'unknown_request', message: 'it is not computed here any more' };

async function load(options: LoadOptions): Promise<Engine> {
  const { llama: pkg, Template } = await loadPackage(options.packageDir);
  const llama = await pkg.getLlama({
    ...{ gpu: options.gpuLayers > 0 ? 'auto' : false, build: 'never', skipDownload: true, progressLogs: false, maxThreads: 0, logLevel: 'error' },
    logger: (_level, message) => {
      log.push(message.trim());
      if (log.length > 8) log.shift();
    },
  });
  if (options.gpuLayers > 0 && llama.gpu === false) {
    throw new Error(
      'there is no GPU that this llama.cpp can use: start with SWITCHYARD_LLAMA_GPU=1 for its variants for GPUs, or set gpuLayers to 0',
    );
  }
  const model = await llama.loadModel({ modelPath: options.modelFile, gpuLayers: options.gpuLayers });
  const context = await model.createContext({
    contextSize: options.contextTokens,
    sequences: options.sequences,
    threads: options.threads,
    batchSize: options.prefillChunk + options.sequences,
    flashAttention: options.flashAttention,
    failedCreationRemedy: false,
  });
  const sampler = new Sampler({ package: pkg, llama, model });
  const { eos, bos } = model.tokens;
  const anyToken = bos ?? eos ?? 0;
  const warmUp = await tryOut(context, anyToken, options);
  const facts = { ...(await factsOf(llama, model, options)), warmUp };
  const loop = new StepLoop({
    context,
    sequences: options.sequences,
    prefillChunk: options.prefillChunk,
    sampler,
    anyToken,
    nowMs: () => performance.now(),
    report: say,
  });
  say({ type: 'loaded', facts, vocabulary: vocabularyOf(model, facts.vocabularySize) });
  loop.run().catch((thrown) => {
    throw thrown;
  });
  return { model, template: facts.chatTemplate !== '' ? new Template(facts.chatTemplate) : undefined, sampler, loop };
}

async function factsOf(llama: Llama, model: Model, options: LoadOptions): Promise<Omit<EngineFacts, 'warmUp'>> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(options.modelFile, { highWaterMark: 1 << 20 }), hash);
  const metadata = model.fileInfo.metadata as Record<string, Record<string, unknown>>;
  const architecture = String(metadata.general?.architecture ?? '');
  const shape = metadata[architecture] as { block_count?: number; embedding_length?: number; attention?: Record<string, number> } | undefined;
  const layers = shape?.block_count ?? 0;
  const heads = shape?.attention?.head_count ?? 1;
  const kvHeads = shape?.attention?.head_count_kv ?? heads;
  const headWidth = (shape?.embedding_length ?? 0) / heads;
  const keyWidth = kvHeads * (shape?.attention?.key_length ?? headWidth);
  const valueWidth = kvHeads * (shape?.attention?.value_length ?? headWidth);
  const tokenizer = metadata.tokenizer as { chat_template?: unknown; ggml?: { tokens?: readonly string[] } } | undefined;
  const chatTemplate = typeof tokenizer?.chat_template === 'string' ? tokenizer.chat_template : '';
  const { isRecurrent, isHybrid, swaSize } = model.fileInsights;
  const bytesOfNumber = 2;
  return {
    release: llama.llamaCppRelease.release,
    packageVersion: packageVersion(options.packageDir),
    // A GPU computes other bits, and so does another share of the layers.
    systemInfo: llama.gpu === false ? llama.systemInfo : `${llama.systemInfo} ${llama.gpu} ${options.gpuLayers}`,
    modelSha256: hash.digest('hex'),
    architecture,
    ...{ layers, keyWidth, valueWidth },
    kvBytesPerToken: layers * (keyWidth + valueWidth) * bytesOfNumber,
    vocabularySize: tokenizer?.ggml?.tokens?.length ?? 0,
    trainedTokens: model.trainContextSize,
    plainKv: !isRecurrent && !isHybrid && !swaSize,
    chatTemplate,
  };
}

/** First steps, for what they cost, and a saved sequence, for its form. */
async function tryOut(context: Context, anyToken: number, { prefillChunk, contextTokens, sample }: LoadOptions): Promise<EngineFacts['warmUp']> {
  const sequence = context.getSequence({ contextShift: { strategy: shiftNever } });
  const timed = async (tokens: number): Promise<number> => {
    const beganMs = performance.now();
    await sequence.controlledEvaluate(Array.from({ length: tokens }, () => anyToken));
    return performance.now() - beganMs;
  };
  const prefillTokens = Math.min(prefillChunk, Math.floor(contextTokens / 4));
  // The first one touches every page of the weights.
  await timed(prefillTokens);
  const prefillMs = await timed(prefillTokens);
  await timed(1);
  const decodeMs = await timed(1);
  await sequence.saveStateToFile(sample);
  await sequence.dispose();
  return { prefillTokens, prefillMs, decodeMs };
}

function packageVersion(folder: string): string {
  return JSON.parse(readFileSync(join(folder, 'node_modules/node-llama-cpp/package.json'), 'utf8')).version;
}

function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
