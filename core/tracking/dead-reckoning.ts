// Where an instance probably is now, from its last report and the time since: tokens decoded, blocks grown, prompts
// computed, queued sequences let in. Pure and bounded; the next report replaces it.
//
// What it does not know it takes to be unfavourable: a prompt in progress starts from nothing, an output runs to its limit.
import type { InstanceStatus, SequenceStatus } from '../../proto/gen/messages.ts';

export interface ProjectionLimits {
  /** An older report is moved forward by no more than this. */
  readonly maxAgeMs: number;
}

const defaultLimits: ProjectionLimits = { maxAgeMs: 2_000 };

/** Sequences looked at one by one; an instance with more is returned with its decode progress only. */
const maxAdmitted = 4096;

/** Blocks that `tokens` take. */
export function blocksFor(tokens: number, blockTokens: number): number {
  return Math.ceil(tokens / Math.max(1, blockTokens));
}

/** One decode step of the whole batch, ms: the measured average where there is one, else the instance's model; 0: unknown. */
export function decodeStepMs(status: Pick<InstanceStatus, 'stepModel' | 'stepMs' | 'running'>, batch = status.running): number {
  const model = status.stepModel;
  const modelled = model ? model.decodeBaseMs + batch * model.decodePerSequenceMs : 0;
  return status.stepMs > 0 ? status.stepMs : modelled;
}

/** Time to compute a prompt of `tokens` tokens, ms. */
export function prefillMs(status: InstanceStatus, tokens: number): number {
  const model = status.stepModel;
  return model ? model.prefillBaseMs + tokens * model.prefillPerTokenMs : 0;
}

/** The report moved forward by `ageMs`. The same object when nothing would have changed. */
export function projectStatus(status: InstanceStatus, ageMs: number, limits: ProjectionLimits = defaultLimits): InstanceStatus {
  const elapsedMs = Math.min(Math.max(0, ageMs), limits.maxAgeMs);
  const stepMs = decodeStepMs(status);
  if (elapsedMs === 0 || stepMs <= 0 || status.sequences.length === 0) return status;

  let freeBlocks = status.freeBlocks;
  let running = status.running;
  let prefillLeftMs = elapsedMs;
  const kept: SequenceStatus[] = [];
  for (const sequence of inOrder(status.sequences)) {
    let produced = 0;
    let state = sequence.state;
    if (state === 'decode') produced = Math.floor(elapsedMs / stepMs);
    else if (state === 'prefill') {
      const neededMs = prefillMs(status, sequence.promptTokens);
      if (neededMs <= prefillLeftMs) {
        prefillLeftMs -= neededMs;
        state = 'decode';
        produced = 1 + Math.floor(prefillLeftMs / stepMs);
      } else prefillLeftMs = 0;
    }
    if (produced === 0) {
      kept.push(state === sequence.state ? sequence : { ...sequence, state });
      continue;
    }
    const outputTokens = Math.min(sequence.outputTokens + produced, Math.max(sequence.maxOutputTokens, sequence.outputTokens));
    if (outputTokens >= sequence.maxOutputTokens && sequence.maxOutputTokens > 0) {
      freeBlocks += sequence.blocks;
      running = Math.max(0, running - 1);
      continue;
    }
    // An engine without room preempts; which sequence it takes is its own choice, so growth stops at what is free.
    const wanted = Math.max(0, blocksFor(sequence.promptTokens + outputTokens, status.blockTokens) - sequence.blocks);
    const grown = Math.min(wanted, Math.max(0, freeBlocks));
    freeBlocks -= grown;
    kept.push({ ...sequence, state, outputTokens, blocks: sequence.blocks + grown });
  }
  return admitWaiting({ ...status, freeBlocks: Math.min(freeBlocks, status.totalBlocks), running, sequences: kept });
}

/** Arrival order, ties by id: the order in which an engine serves. */
function inOrder(sequences: readonly SequenceStatus[]): SequenceStatus[] {
  return [...sequences].sort((a, b) => a.arrivalMs - b.arrivalMs || (a.requestId < b.requestId ? -1 : 1));
}

/** Queued sequences start their prompt when a slot and blocks are free, first come first served. */
function admitWaiting(status: InstanceStatus): InstanceStatus {
  const waiting = status.sequences.filter((sequence) => sequence.state === 'waiting').slice(0, maxAdmitted);
  const admitted = new Map<string, number>();
  let { freeBlocks, running } = status;
  for (const sequence of waiting) {
    const demand = queuedDemand(sequence, status.blockTokens);
    if (running >= status.maxRunning || demand > freeBlocks) break;
    freeBlocks -= demand;
    running += 1;
    admitted.set(sequence.requestId, demand);
  }
  if (admitted.size === 0) return status;
  const sequences = status.sequences.map((sequence) => {
    const demand = admitted.get(sequence.requestId);
    return demand === undefined ? sequence : { ...sequence, state: 'prefill' as const, blocks: sequence.blocks + demand };
  });
  const still = waiting.filter((sequence) => !admitted.has(sequence.requestId));
  const letIn = [...admitted.values()].reduce((sum, demand) => sum + demand, 0);
  return {
    ...status,
    freeBlocks,
    running,
    sequences,
    waiting: Math.max(0, status.waiting - admitted.size),
    waitingBlocks: Math.max(0, status.waitingBlocks - letIn),
    headBlocks: still[0] ? queuedDemand(still[0], status.blockTokens) : 0,
  };
}

function queuedDemand(sequence: SequenceStatus, blockTokens: number): number {
  return Math.max(0, blocksFor(sequence.promptTokens + sequence.outputTokens, blockTokens) - sequence.blocks);
}
