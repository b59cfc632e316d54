// The copy loop of migrations and transfers: stage after stage while the source decodes on, until little enough is left.
import { SwitchyardError } from '../core/errors/switchyard-error.ts';
import type { Copied, CopyProgress, Held } from '../core/workflows/activities.ts';
import type { ActivityContext } from '../core/workflows/control.ts';
import * as contracts from '../lib/contracts.ts';
import type { Body } from '../lib/ports/bus.ts';
import { sleep } from '../lib/ports/clock.ts';
import type { Ports } from '../lib/ports/ports.ts';
import type { Attributes } from '../lib/ports/telemetry.ts';
import type { CopyStageCommand, CopyStageReply } from '../proto/gen/messages.ts';
import { whileAlive } from './alive.ts';
import type { ActivitySettings } from './settings.ts';

export interface CopyJob {
  readonly reservationId: string;
  readonly requestId: string;
  readonly sourceInstanceId: string;
  readonly targetInstanceId: string;
  /** The sequence's epoch at the source. */
  readonly epoch: number;
  readonly held: Held;
  readonly connections: number;
}

export interface Stage {
  readonly stage: number;
  readonly last: boolean;
  readonly pauseLeaseMs: number;
  readonly timeoutMs: number;
}

export type StageReply = CopyStageReply;

/** A source that dies in the middle of a stage is noticed after this. */
const longestAskMs = 1_000;

/**
 * One stage, with its span. A source joins a repeated question to the stage that it is copying, so it is asked again
 * and again: one that has died leaves nobody who could be asked.
 * @throws what the bus throws; `timeout` when the stage has not ended within its time
 */
export function copyStage(ports: Ports, job: CopyJob, stage: Stage): Promise<StageReply> {
  const attributes: Attributes = {
    'switchyard.request.id': job.requestId,
    'switchyard.reservation.id': job.reservationId,
    'switchyard.source': job.sourceInstanceId,
    'switchyard.target': job.targetInstanceId,
    'switchyard.stage': stage.stage,
    'switchyard.mode': stage.last ? 'last' : 'pre_copy',
  };
  return ports.telemetry.span('migrate.stage', { attributes }, async (span) => {
    const reply = await askUntilCopied(ports, stage.timeoutMs, {
      instanceId: job.sourceInstanceId,
      reservationId: job.reservationId,
      requestId: job.requestId,
      epoch: job.epoch,
      kvAddress: job.held.kvAddress,
      transferToken: job.held.transferToken,
      stage: stage.stage,
      last: stage.last,
      pauseLeaseMs: stage.pauseLeaseMs,
      connections: job.connections,
    });
    span.set({ 'switchyard.blocks': reply.blocksSent, 'switchyard.blocks_remaining': reply.blocksRemaining, 'switchyard.bytes': reply.bytesSent });
    if (reply.refusal) span.fail(reply.refusal.code, reply.refusal.message);
    return reply;
  });
}

async function askUntilCopied(ports: Ports, withinMs: number, command: Body<CopyStageCommand>): Promise<StageReply> {
  const untilMs = ports.clock.now() + withinMs;
  for (;;) {
    const timeoutMs = Math.min(longestAskMs, untilMs - ports.clock.now());
    try {
      return await ports.bus.request(contracts.copyStage, [command.instanceId], command, { timeoutMs });
    } catch (thrown) {
      const slow = thrown instanceof SwitchyardError && thrown.code === 'timeout';
      if (!slow || ports.clock.now() >= untilMs) throw thrown;
    }
  }
}

export interface CopyLimits {
  /** Stages in all, the last one of a cut-over included. */
  readonly maxStages: number;
  /** Done when no more than this many blocks remain. */
  readonly enoughBlocks: number;
  /** Absolute. */
  readonly deadlineMs: number;
  /** Of a stage whose connections were lost; default 1. */
  readonly triesOfStage?: number;
}

const betweenTriesMs = 250;

/**
 * Copies until enough is there. A second attempt goes on at the stage the first one reached; what it copies again is
 * not sent again. @throws SwitchyardError `cancelled`, and what the bus throws
 */
export async function copyInStages(
  ports: Ports,
  settings: ActivitySettings,
  job: CopyJob,
  limits: CopyLimits,
  context: ActivityContext,
): Promise<Copied> {
  let done: CopyProgress = isProgress(context.lastHeartbeat) ? context.lastHeartbeat : { stages: 0, blocks: 0, bytes: 0 };
  for (let tries = 1; ; ) {
    if (limits.maxStages <= 1 && done.stages === 0) return { ...done, code: '' };
    if (done.stages >= limits.maxStages - 1) return { ...done, code: 'too_many_stages' };
    const leftMs = limits.deadlineMs - ports.clock.now();
    if (leftMs <= 0) return { ...done, code: 'deadline_exceeded' };
    const stage: Stage = { stage: done.stages, last: false, pauseLeaseMs: 0, timeoutMs: Math.min(settings.stageMs, leftMs) };
    const reply = await whileAlive(ports.clock, context, () => done, copyStage(ports, job, stage));
    if (reply.refusal?.code === 'transfer_failed' && tries < (limits.triesOfStage ?? 1)) {
      await whileAlive(ports.clock, context, () => done, sleep(ports.clock, betweenTriesMs * tries++));
      continue;
    }
    if (reply.refusal) return { ...done, code: reply.refusal.code };
    tries = 1;
    done = { stages: done.stages + 1, blocks: done.blocks + reply.blocksSent, bytes: done.bytes + reply.bytesSent };
    context.heartbeat(done);
    if (reply.blocksRemaining <= limits.enoughBlocks) return { ...done, code: '' };
  }
}

function isProgress(value: unknown): value is CopyProgress {
  return typeof value === 'object' && value !== null && 'stages' in value && typeof value.stages === 'number';
}
