// Commands to one instance on the bus: hold blocks, copy a stage, release, give up a reservation. All idempotent.
import { refusal } from '../../core/errors/switchyard-error.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Body, Subscription } from '../../lib/ports/bus.ts';
import type { EngineAdapter } from '../../lib/ports/engines.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Refusal, ReserveCommand, ReserveReply } from '../../proto/gen/messages.ts';
import { type KvGiver, kvOf } from './kv-giver.ts';

export interface CommandOptions {
  readonly ports: Pick<Ports, 'bus' | 'rng'>;
  readonly adapter: EngineAdapter;
  readonly giver: KvGiver;
  readonly instanceId: string;
  readonly kvAddress: string;
  readonly linkAddress: string;
  readonly accepting: () => boolean;
  /** Newest epoch seen of a request. */
  readonly newestEpoch: (requestId: string) => number | undefined;
}

/** Blocks are not held longer without a stage that arrives, whatever a command says. */
const longestHoldMs = 3_600_000;

export function serveCommands(options: CommandOptions): Subscription[] {
  const { adapter, giver, instanceId } = options;
  const { bus, rng } = options.ports;

  function reserve(command: ReserveCommand): Body<ReserveReply> {
    const no = (why: Refusal) => ({ refusal: why, kvAddress: '', transferToken: '', address: '' });
    const kv = kvOf(adapter);
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

  return [
    bus.serve(contracts.reserve, [instanceId], reserve),
    bus.serve(contracts.copyStage, [instanceId], giver.copyStage),
    bus.serve(contracts.release, [instanceId], giver.release),
    bus.serve(contracts.dropReservation, [instanceId], ({ reservationId }) => {
      adapter.kv?.dropReservation(reservationId);
      return {};
    }),
    { stop: () => Promise.resolve(giver.stop()) },
  ];
}
