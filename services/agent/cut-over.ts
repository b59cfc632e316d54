// The end of giving a request away: the last stage, the hand-over at the gateway, the release. The hand-over is the point of no
// return; what goes wrong before it leaves the request where it is. Driven by the source's own agent, so that a sequence which
// stands still waits for nobody but the target and its gateway.
import type { HandOffPlan } from '../../core/migration/hand-off.ts';
import * as contracts from '../../lib/contracts.ts';
import { sleep } from '../../lib/ports/clock.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { HandOverReply, ReserveReply } from '../../proto/gen/messages.ts';
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
/** A hand-over that cannot be answered within this much of the pause lease is not begun. */
const shortestHandOverMs = 20;
const askMs = 1_000;
const betweenAsksMs = 100;
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
  // The hand-over may only be carried out while the sequence stands still: its deadline is inside the pause lease.
  const withinMs = Math.min(handOverMs, pausedFromMs + pauseLeaseMs - clock.now());
  const answer =
    withinMs < shortestHandOverMs ? undefined : await handOver(ports, plan, held.address || plan.targetAddress, copied.nextIndex, withinMs);
  const committed = answer === 'unknown' ? undefined : answer?.outcome === 'committed';
  giver.release({ requestId, epoch, committed: committed === true });
  const downtimeMs = Math.max(0, clock.now() - (copied.pausedAtMs || pausedFromMs));
  return { ...sent, committed, code: codeOf(answer), downtimeMs };
}

/** It stays. Whoever copies it instead, so that this copy was cancelled, is left alone. */
export function goOn(giver: KvGiver, { requestId, fromEpoch: epoch }: Pick<GivingPlan, 'requestId' | 'fromEpoch'>, code: string): void {
  if (code !== 'cancelled') giver.release({ requestId, epoch, committed: false });
}

function codeOf(answer: HandOverReply | 'unknown' | undefined): string {
  if (answer === undefined) return 'deadline_exceeded';
  if (answer === 'unknown') return 'unreachable';
  if (answer.outcome === 'committed') return '';
  return answer.refusal?.code ?? (answer.outcome === 'unknown_request' ? 'unknown_request' : 'stale_epoch');
}

async function handOver(
  ports: Pick<Ports, 'bus' | 'clock'>,
  plan: GivingPlan,
  address: string,
  nextIndex: number,
  timeoutMs: number,
): Promise<HandOverReply | 'unknown'> {
  const { migrationId, requestId, gatewayId, fromEpoch, toEpoch, targetInstanceId: instanceId, sourceInstanceId, mode } = plan;
  const command = { requestId, migrationId, fromEpoch, toEpoch, instanceId, address, reservationId: migrationId, mode, nextIndex };
  try {
    return await ports.bus.request(contracts.handOff, [gatewayId, sourceInstanceId], command, { timeoutMs, id: migrationId });
  } catch {
    return settle(ports, plan);
  }
}

/**
 * The answer is lost: the hand-over may have been carried out, or may still be on its way. The question is a final one, so "not
 * committed" stays so even if the hand-over comes later.
 */
async function settle({ bus, clock }: Pick<Ports, 'bus' | 'clock'>, plan: GivingPlan): Promise<HandOverReply | 'unknown'> {
  const { requestId, migrationId, gatewayId, sourceInstanceId } = plan;
  const untilMs = clock.now() + outcomeMs;
  for (;;) {
    try {
      const query = { requestId, migrationId, final: true };
      return await bus.request(contracts.handOffOutcome, [gatewayId, sourceInstanceId], query, { timeoutMs: askMs });
    } catch {
      if (clock.now() >= untilMs) return 'unknown';
      await sleep(clock, betweenAsksMs);
    }
  }
}
