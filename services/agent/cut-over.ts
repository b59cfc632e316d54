// The end of giving a request away: the last stage, the hand-over at the gateway, the release. The hand-over is the point of no
// return; what goes wrong before it leaves the request where it is. Driven by the source's own agent, so that a sequence which
// stands still waits for nobody but the target and its gateway.
import type { HandOffPlan } from '../../core/migration/hand-off.ts';
import * as contracts from '../../lib/contracts.ts';
import { type Gateway, handOverForSure, handOverLimit, whyNotCommitted } from '../../lib/migration/hand-over.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { ReserveReply } from '../../proto/gen/messages.ts';
import type { KvGiver } from './kv-giver.ts';

export type GivingPlan = Pick<
  HandOffPlan,
  | 'migrationId'
  | 'requestId'
  | 'gatewayId'
  | 'sourceInstanceId'
  | 'targetInstanceId'
  | 'targetAddress'
  | 'fromEpoch'
  | 'toEpoch'
  | 'mode'
  | 'connections'
  | 'pauseLeaseMs'
>;

export type HeldThere = Pick<ReserveReply, 'kvAddress' | 'transferToken' | 'address'>;

export interface GivenAway {
  /** Undefined: the gateway did not say, to the end of asking. It may have moved the request. */
  readonly committed: boolean | undefined;
  /** Why not; empty when committed. */
  readonly code: string;
  readonly blocks: number;
  readonly bytes: number;
  /** From the source's last token to the answer about the hand-over, ms; 0: it never stood still. */
  readonly downtimeMs: number;
}

const handOverMs = 1_000;
const askMs = 1_000;
/** How long a lost outcome is asked for. A gateway that says nothing for longer is gone, and its clients with it. */
const outcomeMs = 10_000;

/** Never rejects. The sequence has gone, or goes on here, when it resolves; an undecided one goes on until its gateway says otherwise. */
export async function cutOver(
  ports: Pick<Ports, 'bus' | 'clock'>,
  giver: KvGiver,
  plan: GivingPlan,
  held: HeldThere,
  stage: number,
): Promise<GivenAway> {
  const { clock } = ports;
  const { migrationId, requestId, fromEpoch: epoch, pauseLeaseMs, connections } = plan;
  const nothing = { committed: false, code: '', blocks: 0, bytes: 0, downtimeMs: 0 };
  const pausedFromMs = clock.now();
  const { kvAddress, transferToken } = held;
  const last = { reservationId: migrationId, requestId, epoch, kvAddress, transferToken, stage, last: true, pauseLeaseMs, connections };
  const copied = await giver.copyStage(last);
  if (copied.refusal) {
    goOn(giver, plan, copied.refusal.code);
    return { ...nothing, code: copied.refusal.code };
  }
  const sent = { blocks: copied.blocksSent, bytes: copied.bytesSent };
  const downtime = () => Math.max(0, clock.now() - (copied.pausedAtMs || pausedFromMs));
  const withinMs = handOverLimit(clock.now(), pausedFromMs, pauseLeaseMs, handOverMs);
  if (withinMs === undefined) {
    giver.release({ requestId, epoch, committed: false });
    return { ...nothing, ...sent, code: 'deadline_exceeded', downtimeMs: downtime() };
  }
  const gateway = gatewayOf(ports, plan, held.address || plan.targetAddress, copied.nextIndex);
  const answer = await handOverForSure(clock, gateway, { withinMs, outcomeMs }).catch(() => undefined);
  const code = answer ? whyNotCommitted(answer) : 'unreachable';
  giver.release({ requestId, epoch, committed: code === '' });
  return { ...sent, committed: answer ? code === '' : undefined, code, downtimeMs: downtime() };
}

/** It stays. Whoever copies it instead, so that this copy was cancelled, is left alone. */
export function goOn(giver: KvGiver, { requestId, fromEpoch: epoch }: Pick<GivingPlan, 'requestId' | 'fromEpoch'>, code: string): void {
  if (code !== 'cancelled') giver.release({ requestId, epoch, committed: false });
}

function gatewayOf({ bus }: Pick<Ports, 'bus'>, plan: GivingPlan, address: string, nextIndex: number): Gateway {
  const { migrationId, requestId, gatewayId, fromEpoch, toEpoch, targetInstanceId: instanceId, sourceInstanceId, mode } = plan;
  const command = { requestId, migrationId, fromEpoch, toEpoch, instanceId, address, reservationId: migrationId, mode, nextIndex };
  const query = { requestId, migrationId, final: true };
  const to = [gatewayId, sourceInstanceId];
  return {
    handOver: (timeoutMs) => bus.request(contracts.handOff, to, command, { timeoutMs, id: migrationId }),
    finalOutcome: () => bus.request(contracts.handOffOutcome, to, query, { timeoutMs: askMs }),
  };
}
