// Commands to one instance on the bus: hold blocks, copy a stage, release, give up a reservation. All idempotent.
import { refusal } from '../../core/errors/switchyard-error.ts';
import * as contracts from '../../lib/contracts.ts';
import { sendStage } from '../../lib/kv/kv-sender.ts';
import { sendTail } from '../../lib/kv/kv-tail.ts';
import type { Turns } from '../../lib/kv/turns.ts';
import type { Body, Subscription } from '../../lib/ports/bus.ts';
import type { EngineAdapter, KvAdapter } from '../../lib/ports/engines.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { CopyStageCommand, CopyStageReply, Refusal, ReleaseCommand, ReserveCommand, ReserveReply } from '../../proto/gen/messages.ts';

export interface CommandOptions {
  readonly ports: Ports;
  readonly adapter: EngineAdapter;
  readonly instanceId: string;
  readonly kvAddress: string;
  readonly linkAddress: string;
  readonly stageTimeoutMs: number;
  readonly turns: Turns;
  readonly accepting: () => boolean;
  /** Newest epoch seen of a request. */
  readonly newestEpoch: (requestId: string) => number | undefined;
  readonly released: (requestId: string, epoch: number) => void;
}

/** Blocks are not held longer without a stage that arrives, whatever a command says. */
const longestHoldMs = 3_600_000;

type Plain<T extends { refusal?: Refusal | null }> = Body<T>;

const noStage: Plain<CopyStageReply> = { blocksSent: 0, blocksRemaining: 0, bytesSent: 0, elapsedMs: 0, nextIndex: 0, pausedAtMs: 0 };

export function serveCommands(options: CommandOptions): Subscription[] {
  const { ports, adapter, instanceId } = options;
  const { bus, clock, rng, telemetry, net } = ports;
  const bytesSent = telemetry.counter('switchyard_kv_bytes_total');
  /** Stages that are being copied: the same command again waits for the same end. Bounded by the sequences here. */
  const copying = new Map<string, Promise<Plain<CopyStageReply>>>();

  /** Ends what follows the stages so far, by request. Bounded by the sequences here. */
  const tails = new Map<string, () => void>();

  function endTail(requestId: string): void {
    tails.get(requestId)?.();
    tails.delete(requestId);
  }

  function kvOrRefusal(): KvAdapter | Refusal {
    return adapter.kv ?? refusal('not_movable', `engine ${adapter.engine} cannot export KV: move by recompute`);
  }

  function reserve(command: ReserveCommand): Plain<ReserveReply> {
    const no = (why: Refusal) => ({ refusal: why, kvAddress: '', transferToken: '', address: '' });
    const kv = kvOrRefusal();
    if ('code' in kv) return no(kv);
    if (!options.accepting()) return no(refusal('draining', `instance ${instanceId} is stopping`));
    const newest = options.newestEpoch(command.requestId);
    if (command.purpose !== 'cache' && newest !== undefined && newest >= command.epoch) {
      return no(refusal('stale_epoch', `${command.requestId} is at epoch ${newest} here`));
    }
    const { reservationId, requestId, epoch, blocks } = command;
    const ttlMs = Math.min(Math.max(command.ttlMs, 0), longestHoldMs);
    const purpose = command.purpose === 'cache' ? 'cache' : 'migration';
    const held = kv.reserve({ reservationId, requestId, epoch, blocks, ttlMs, purpose, transferToken: rng.id('kv-') });
    return 'code' in held ? no(held) : { kvAddress: options.kvAddress, transferToken: held.transferToken, address: options.linkAddress };
  }

  function copyStage(command: CopyStageCommand): Promise<Plain<CopyStageReply>> {
    const key = `${command.reservationId}#${command.stage}${command.last ? '!' : ''}`;
    const running = copying.get(key);
    if (running) return running;
    const copied = sendInSpan(command).finally(() => copying.delete(key));
    copying.set(key, copied);
    return copied;
  }

  function sendInSpan(command: CopyStageCommand): Promise<Plain<CopyStageReply>> {
    const attributes = {
      'switchyard.request.id': command.requestId,
      'switchyard.instance.id': instanceId,
      'switchyard.reservation.id': command.reservationId,
      'switchyard.stage': command.stage,
      'switchyard.connections': command.connections,
    };
    return telemetry.span('kv.send', { attributes, kind: 'client' }, async (span) => {
      const reply = await send(command, span.context.traceparent);
      span.set({ 'switchyard.blocks': reply.blocksSent, 'switchyard.blocks_remaining': reply.blocksRemaining, 'switchyard.bytes': reply.bytesSent });
      if (reply.refusal) span.fail(reply.refusal.code, reply.refusal.message);
      return reply;
    });
  }

  async function send(command: CopyStageCommand, traceparent: string): Promise<Plain<CopyStageReply>> {
    const { requestId, epoch, reservationId, transferToken, stage, last, connections, pauseLeaseMs } = command;
    const startedAtMs = clock.now();
    const kv = kvOrRefusal();
    if ('code' in kv) return { ...noStage, refusal: kv };
    const source = await kv.beginStage({ requestId, epoch, reservationId, last, pauseLeaseMs });
    if ('code' in source) return { ...noStage, refusal: source };
    const { turns, stageTimeoutMs: timeoutMs } = options;
    const address = command.kvAddress;
    const job = { source, turns, address, reservationId, transferToken, stage, last, connections, timeoutMs, traceparent };
    const sent = await sendStage({ net, clock, ...job });
    const confirmed = 'code' in sent ? sent : source.confirmed();
    endTail(requestId);
    if ('code' in sent || 'code' in confirmed) {
      // Not waiting for the abort to come: the client would feel it.
      if (last) kv.release(requestId, epoch, false);
      return { ...noStage, refusal: 'code' in sent ? sent : (confirmed as Refusal), elapsedMs: clock.now() - startedAtMs };
    }
    if (!last && source.tail) {
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

  function release(command: ReleaseCommand): { refusal?: Refusal } {
    const { requestId, epoch, committed } = command;
    endTail(requestId);
    const refused = adapter.kv?.release(requestId, epoch, committed);
    if (refused) return { refusal: refused };
    if (committed) options.released(requestId, epoch);
    return {};
  }

  return [
    bus.serve(contracts.reserve, [instanceId], reserve),
    bus.serve(contracts.copyStage, [instanceId], copyStage),
    bus.serve(contracts.release, [instanceId], release),
    bus.serve(contracts.dropReservation, [instanceId], ({ reservationId }) => {
      adapter.kv?.dropReservation(reservationId);
      return {};
    }),
    { stop: () => Promise.resolve([...tails.keys()].forEach(endTail)) },
  ];
}
