// Keeps the engine's process alive: starts it, and starts it again after it has died, later and later while it dies soon.
import { refusal, toRefusal } from '../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../proto/gen/messages.ts';
import type { LlamaEngineConfig } from '../../config/fleet.ts';
import { type Clock, sleep } from '../../ports/clock.ts';
import type { StepReport } from './child/messages.ts';
import { type EngineChild, type Loaded, startEngineChild } from './engine-child.ts';
import { whyNoModel } from './model-file.ts';
import type { StateFolder } from './state-folder.ts';

export interface EngineHostOptions {
  readonly clock: Clock;
  readonly packageDir: string | undefined;
  readonly modelFile: string;
  readonly config: LlamaEngineConfig;
  readonly folder: StateFolder;
  /** With a short saved sequence. What it refuses, the engine is not used for. */
  readonly onLoaded: (loaded: Loaded, sample: Uint8Array) => Refusal | undefined;
  /** It has died, and everything in it. */
  readonly onLost: (why: Refusal) => void;
  readonly onStep: (report: StepReport) => void;
  readonly onChange: () => void;
}

export interface RunningEngine {
  readonly child: EngineChild;
  readonly loaded: Loaded;
}

/** It is started again after this, twice as long after each further end that comes soon. */
const firstRestartMs = 100;
const longestRestartMs = 30_000;
/** A process that has lived this long has recovered. */
const recoveredAfterMs = 60_000;
/** Processes that may die before the model was ever loaded. */
const maxFirstStarts = 3;
/** A model that takes longer to load is not waited for: the largest ones on the slowest disks take minutes. */
const loadWithinMs = 900_000;

export class EngineHost {
  readonly #options: EngineHostOptions;
  #child: EngineChild | undefined;
  #running: RunningEngine | undefined;
  #startedAtMs = 0;
  #restartMs = firstRestartMs;
  #cancelRestart = () => {};
  #stopped = false;

  constructor(options: EngineHostOptions) {
    this.#options = options;
  }

  /** Undefined while the model is being loaded. */
  get running(): RunningEngine | undefined {
    return this.#running;
  }

  /** What to answer while it is not running. */
  away(): Refusal {
    return refusal('engine_unavailable', "the engine's process is being started", this.#restartMs);
  }

  /** Resolves when the model is loaded, or with why it cannot be: then nothing is tried again. */
  async start(): Promise<Refusal | undefined> {
    const { packageDir, modelFile, clock } = this.#options;
    if (packageDir === undefined) {
      return refusal(
        'invalid_config',
        'node-llama-cpp is not on this machine: npm start installs it, or set llamaPackage of the agent to where it is',
      );
    }
    const problem = whyNoModel(modelFile);
    if (problem) return refusal('invalid_config', problem);
    for (let attempt = 1; ; attempt++) {
      const why = await this.#load(packageDir);
      if (!why || this.#stopped || why.code !== 'engine_unavailable' || attempt === maxFirstStarts) return why;
      await sleep(clock, firstRestartMs);
    }
  }

  /** Resolves when the process is gone. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#running = undefined;
    this.#cancelRestart();
    await this.#child?.kill();
  }

  /** Never throws. */
  async #load(packageDir: string): Promise<Refusal | undefined> {
    const { config, modelFile, clock, folder, onLoaded, onStep, onChange } = this.#options;
    if (this.#stopped) return this.away();
    this.#startedAtMs = clock.now();
    const sample = folder.newPath();
    const { contextTokens, maxRunning: sequences, threads, gpuLayers, prefillChunk, flashAttention } = config;
    const child = startEngineChild(
      { packageDir, modelFile, contextTokens, sequences, threads, gpuLayers, prefillChunk, flashAttention, sample },
      { onStep, onExit: (why) => this.#onExit(child, why) },
      config.niceness,
    );
    this.#child = child;
    const cancelLimit = clock.after(loadWithinMs, () => void child.kill());
    const problem = await child.loaded
      .then(async (loaded) => {
        const refused = onLoaded(loaded, await folder.take(sample));
        if (!refused) this.#running = { child, loaded };
        return refused;
      })
      .catch(toRefusal);
    cancelLimit();
    if (!problem) {
      onChange();
      return undefined;
    }
    await child.kill();
    return problem.code === 'invalid_config' ? { ...problem, message: `${modelFile} cannot be used as a model: ${problem.message}` } : problem;
  }

  #onExit(child: EngineChild, why: string): void {
    if (this.#running?.child !== child) return;
    this.#running = undefined;
    const livedMs = this.#options.clock.now() - this.#startedAtMs;
    this.#restartMs = livedMs > recoveredAfterMs ? firstRestartMs : Math.min(longestRestartMs, this.#restartMs * 2);
    this.#options.onLost(refusal('engine_unavailable', why, this.#restartMs));
    this.#restart();
  }

  #restart(): void {
    if (this.#stopped) return;
    this.#cancelRestart = this.#options.clock.after(this.#restartMs, async () => {
      const why = await this.#load(this.#options.packageDir!);
      if (!why) return;
      this.#restartMs = Math.min(longestRestartMs, this.#restartMs * 2);
      this.#restart();
    });
  }
}
