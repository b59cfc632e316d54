// One instance's side of giving sequences away with their KV: a stage copied, a sequence released. Asked for by a migration on
// the bus, or by the hand-offs of this process.
import { refusal } from '../../core/errors/switchyard-error.ts';
import { toldRefusal } from '../../lib/kv/kv-commit.ts';
import { type SendReport, type SendStageOptions, sendStage } from '../../lib/kv/kv-sender.ts';
import { sendTail, type Tail } from '../../lib/kv/kv-tail.ts';
import type { Turns } from '../../lib/kv/turns.ts';
import type { Body } from '../../lib/ports/bus.ts';
import type { EngineAdapter, KvAdapter } from '../../lib/ports/engines.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { CopyStageCommand, CopyStageReply, Refusal, ReleaseCommand } from '../../proto/gen/messages.ts';

export interface KvGiverOptions {
  readonly ports: Pick<Ports, 'clock' | 'net' | 'telemetry'>;
  readonly adapter: EngineAdapter;
  readonly instanceId: string;
  readonly stageTimeoutMs: number;
  readonly turns: Turns;
  readonly released: (requestId: string, epoch: number) => void;
}

/** What a command says, without what only its way here needs. */
export type Stage = Omit<CopyStageCommand, 'meta' | 'instanceId'>;
export type StageCopied = Omit<Body<CopyStageReply>, 'refusal'> & { readonly refusal?: Refusal | null };

export interface KvGiver {
  /** Never rejects: what goes wrong is a refusal. The same stage again, while it is being copied, ends with it. */
  copyStage(stage: Stage): Promise<StageCopied>;
  /** The sequence has gone (committed), or goes on here. Repeats and unknown ones are fine. */
  release(command: Pick<ReleaseCommand, 'requestId' | 'epoch' | 'committed'>): { refusal?: Refusal };
  stop(): void;
}

const noStage: StageCopied = { blocksSent: 0, blocksRemaining: 0, bytesSent: 0, elapsedMs: 0, nextIndex: 0, pausedAtMs: 0 };

/** @returns its KV adapter, or why there is none */
export function kvOf({ kv, engine }: EngineAdapter): KvAdapter | Refusal {
  return kv ?? refusal('not_movable', `engine ${engine} cannot export KV: move by recompute`);
}

export function createKvGiver(options: KvGiverOptions): KvGiver {
  const { adapter, instanceId } = options;
  const { clock, net, telemetry } = options.ports;
  const bytesSent = telemetry.counter('switchyard_kv_bytes_total');
  /** Stages that are being copied: the same command again waits for the same end. Bounded by the sequences here. */
  const copying = new Map<string, Promise<StageCopied>>();
  /** What follows the stages so far, by request. Bounded by the sequences here. */
  const tails = new Map<string, Tail>();

  function endTail(requestId: string): void {
    tails.get(requestId)?.end();
    tails.delete(requestId);
  }

  /** Undefined: the stage has to be sent over connections of its own. */
  async function sendOverTail(requestId: string, job: SendStageOptions): Promise<SendReport | Refusal | undefined> {
    const tail = tails.get(requestId);
    if (job.source.blocks.length > 0 || tail?.reservationId !== job.reservationId) return undefined;
    const result = await tail.commit(job);
    if (!result || result.missing.length > 0 || result.refusal?.code === 'corrupt_kv') return undefined;
    return result.refusal ? toldRefusal(result.refusal) : { blocksSent: 0, bytesSent: 0, connectionsLost: 0 };
  }

  function copyStage(stage: Stage): Promise<StageCopied> {
    const key = `${stage.reservationId}#${stage.stage}${stage.last ? '!' : ''}`;
    const running = copying.get(key);
    if (running) return running;
    const copied = sendInSpan(stage).finally(() => copying.delete(key));
    copying.set(key, copied);
    return copied;
  }

  function sendInSpan(stage: Stage): Promise<StageCopied> {
    const attributes = {
      'switchyard.request.id': stage.requestId,
      'switchyard.instance.id': instanceId,
      'switchyard.reservation.id': stage.reservationId,
      'switchyard.stage': stage.stage,
      'switchyard.connections': stage.connections,
    };
    return telemetry.span('kv.send', { attributes, kind: 'client' }, async (span) => {
      const reply = await send(stage, span.context.traceparent);
      span.set({ 'switchyard.blocks': reply.blocksSent, 'switchyard.blocks_remaining': reply.blocksRemaining, 'switchyard.bytes': reply.bytesSent });
      if (reply.refusal) span.fail(reply.refusal.code, reply.refusal.message);
      return reply;
    });
  }

  async function send(wanted: Stage, traceparent: string): Promise<StageCopied> {
    const { requestId, epoch, reservationId, transferToken, stage, last, connections, pauseLeaseMs } = wanted;
    const startedAtMs = clock.now();
    const kv = kvOf(adapter);
    if ('code' in kv) return { ...noStage, refusal: kv };
    const source = await kv.beginStage({ requestId, epoch, reservationId, last, pauseLeaseMs });
    if ('code' in source) return { ...noStage, refusal: source };
    const { turns, stageTimeoutMs: timeoutMs } = options;
    const address = wanted.kvAddress;
    const job = { net, clock, source, turns, address, reservationId, transferToken, stage, last, connections, timeoutMs, traceparent };
    const overTail = await sendOverTail(requestId, job);
    const sent = overTail ?? (await sendStage(job));
    const confirmed = 'code' in sent ? sent : source.confirmed();
    if (last || !overTail || 'code' in sent || 'code' in confirmed) endTail(requestId);
    if ('code' in sent || 'code' in confirmed) {
      // Not waiting for the abort to come: the client would feel it.
      if (last) kv.release(requestId, epoch, false);
      return { ...noStage, refusal: 'code' in sent ? sent : (confirmed as Refusal), elapsedMs: clock.now() - startedAtMs };
    }
    if (!last && !tails.has(requestId) && source.tail) {
      tails.set(requestId, sendTail({ net, clock, source, address, reservationId, transferToken, timeoutMs, traceparent }));
    }
    bytesSent.add(sent.bytesSent, { direction: 'out' });
    return {
      blocksSent: sent.blocksSent,
      bytesSent: sent.bytesSent,
      blocksRemaining: last ? 0 : confirmed.blocksRemaining,
      elapsedMs: clock.now() - startedAtMs,
      nextIndex: source.nextIndex,
      pausedAtMs: source.pausedAtMs,
    };
  }

  return {
    copyStage,
    release({ requestId, epoch, committed }) {
      endTail(requestId);
      const refused = adapter.kv?.release(requestId, epoch, committed);
      if (refused) return { refusal: refused };
      if (committed) options.released(requestId, epoch);
      return {};
    },
    stop: () => [...tails.keys()].forEach(endTail),
  };
}
