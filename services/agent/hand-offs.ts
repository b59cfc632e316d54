// Gives requests away whose prompt was computed here: reserve, copy while the sequence decodes on, cut over. It happens to every
// long prompt of a pool with prefill instances, and beside the durable plane. Whatever fails before the hand-over leaves the
// request decoding where it is.

import { toRefusal } from '../../core/errors/switchyard-error.ts';
import { type HandOffPlan, planHandOff } from '../../core/migration/hand-off.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Span } from '../../lib/ports/telemetry.ts';
import type { HandOffJob } from './actor.ts';
import { cutOver, type GivenAway, goOn, type HeldThere } from './cut-over.ts';
import type { Hosted } from './instances.ts';

export interface HandOffs {
  begin(instanceId: string, job: HandOffJob): void;
  /** Those that wait are not begun. */
  stop(): void;
}

export interface HandOffsOptions {
  readonly ports: Pick<Ports, 'bus' | 'clock' | 'telemetry'>;
  readonly atOnce: number;
  readonly followFromBytes: number;
  readonly find: (instanceId: string) => Hosted | undefined;
}

interface Waiting {
  readonly instanceId: string;
  readonly job: HandOffJob;
  readonly sinceMs: number;
  readonly tries: number;
}

/** Requests that wait their turn; further ones stay where they are. */
const mostWaiting = 1_000;
/** A full target often has room a moment later; meanwhile the sequence decodes on. */
const mostTries = 5;
const againMs = 250;
/** Nothing was tried, and nothing went wrong. */
const nearlyOver: ReadonlySet<string> = new Set(['few_tokens', 'sequence_finished']);
const reserveMs = 1_000;
const dropMs = 1_000;

export function createHandOffs({ ports, atOnce, followFromBytes, find }: HandOffsOptions): HandOffs {
  const { bus, clock, telemetry } = ports;
  const ended = telemetry.counter('switchyard_hand_offs_total');
  const duration = telemetry.histogram('switchyard_hand_off_duration_seconds');
  const downtime = telemetry.histogram('switchyard_hand_off_downtime_seconds');
  const bytesSent = telemetry.counter('switchyard_hand_off_bytes_total');
  const waiting: Waiting[] = [];
  let active = 0;
  let stopped = false;

  function next(): void {
    while (active < atOnce) {
      const one = waiting.shift();
      if (!one) return;
      active += 1;
      void handOff(one).finally(() => {
        active -= 1;
        next();
      });
    }
  }

  async function handOff(one: Waiting): Promise<void> {
    const { instanceId, job, sinceMs, tries } = one;
    // The step that gave the first token ends first.
    await Promise.resolve();
    const hosted = find(instanceId);
    if (!hosted) return;
    const attributes = {
      'switchyard.request.id': job.requestId,
      'switchyard.source': instanceId,
      'switchyard.target': job.to.instanceId,
      'switchyard.from_epoch': job.epoch,
    };
    const parent = job.traceparent === '' ? {} : { parent: { traceparent: job.traceparent } };
    await telemetry.span('hand_off', { attributes, ...parent }, async (span) => {
      const given = await giveAway(hosted, job, span).catch((thrown) => stays(toRefusal(thrown).code));
      if (given.code === 'target_full' && tries < mostTries) {
        span.set({ 'switchyard.code': given.code, 'switchyard.attempt': tries });
        clock.after(againMs, () => wait({ ...one, tries: tries + 1 }));
        return;
      }
      tell(hosted.pool, given, sinceMs, span);
      if (given.committed || nearlyOver.has(given.code)) return;
      const about = { request: job.requestId, instance: instanceId, target: job.to.instanceId, code: given.code };
      telemetry.log.info('request stays where its prompt was computed', about);
    });
  }

  function tell(pool: string, given: GivenAway, sinceMs: number, span: Span): void {
    const outcome = given.committed === undefined ? 'unknown' : given.committed ? 'committed' : 'kept';
    ended.add(1, { pool, outcome, code: given.code });
    duration.observe((clock.now() - sinceMs) / 1000, { pool, outcome });
    bytesSent.add(given.bytes, { pool });
    if (given.committed) downtime.observe(given.downtimeMs / 1000, { pool });
    span.set({
      ...{ 'switchyard.outcome': outcome, 'switchyard.code': given.code || undefined },
      ...{ 'switchyard.blocks': given.blocks, 'switchyard.bytes': given.bytes, 'switchyard.downtime_ms': given.downtimeMs },
    });
  }

  async function giveAway(hosted: Hosted, job: HandOffJob, span: Span): Promise<GivenAway> {
    const { adapter, instanceId } = hosted;
    const plan = planHandOff({ ...job, instanceId }, adapter.status(), adapter.supports, { followFromBytes });
    if (typeof plan === 'string') return stays(plan);
    span.set({ 'switchyard.migration.id': plan.migrationId, 'switchyard.migration.mode': plan.mode, 'switchyard.to_epoch': plan.toEpoch });
    const held = await reserve(plan).catch(async (thrown) => {
      // The answer may be lost, and the blocks held.
      await drop(plan);
      return toRefusal(thrown);
    });
    if ('code' in held) return stays(held.code);
    const given = await move(hosted, plan, held);
    // Of an undecided one the target may be speaking already: what nobody takes over frees itself.
    if (given.committed === false) await drop(plan);
    return given;
  }

  async function reserve(plan: HandOffPlan): Promise<HeldThere | { readonly code: string }> {
    const { targetInstanceId: instanceId, migrationId: reservationId, requestId, toEpoch: epoch, reserveBlocks: blocks } = plan;
    const { reservationTtlMs: ttlMs, sourceInstanceId } = plan;
    const command = { instanceId, reservationId, requestId, epoch, blocks, ttlMs, purpose: 'migration' as const, sourceInstanceId };
    const { refusal, ...held } = await bus.request(contracts.reserve, [instanceId], command, { timeoutMs: reserveMs, id: reservationId });
    return refusal ?? held;
  }

  /** Copies what there is while the source decodes on; then it stands still for the rest. */
  async function move({ giver }: Hosted, plan: HandOffPlan, held: HeldThere): Promise<GivenAway> {
    const { migrationId: reservationId, requestId, fromEpoch: epoch, connections } = plan;
    const { kvAddress, transferToken } = held;
    let [blocks, bytes, stage] = [0, 0, 0];
    for (let enough = false; stage < plan.stagesAhead && !enough; stage++) {
      const ahead = { reservationId, requestId, epoch, kvAddress, transferToken, stage, last: false, pauseLeaseMs: 0, connections };
      const copied = await giver.copyStage(ahead);
      if (copied.refusal) {
        goOn(giver, plan, copied.refusal.code);
        return { ...stays(copied.refusal.code), blocks, bytes };
      }
      blocks += copied.blocksSent;
      bytes += copied.bytesSent;
      enough = copied.blocksRemaining <= plan.lastStageBlocks;
    }
    const given = await cutOver(ports, giver, plan, held, stage);
    return { ...given, blocks: blocks + given.blocks, bytes: bytes + given.bytes };
  }

  async function drop({ targetInstanceId: instanceId, migrationId: reservationId }: HandOffPlan): Promise<void> {
    // Unheard it expires.
    await bus.request(contracts.dropReservation, [instanceId], { instanceId, reservationId }, { timeoutMs: dropMs }).catch(() => {});
  }

  function wait(one: Waiting): void {
    if (stopped) return;
    if (waiting.length >= mostWaiting) {
      ended.add(1, { pool: find(one.instanceId)?.pool ?? '', outcome: 'kept', code: 'queue_full' });
      return;
    }
    waiting.push(one);
    next();
  }

  return {
    begin: (instanceId, job) => wait({ instanceId, job, sinceMs: clock.now(), tries: 1 }),
    stop() {
      stopped = true;
      waiting.splice(0);
    },
  };
}

function stays(code: string): GivenAway {
  return { committed: false, code, blocks: 0, bytes: 0, downtimeMs: 0 };
}
