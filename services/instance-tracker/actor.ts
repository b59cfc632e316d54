// One actor per instance: hosts core/tracking/instance-state.ts. Its timer is the next time at which silence matters.
import {
  type CordonReason,
  type Health,
  type InstanceState,
  isForgettable,
  isMeaningfulChange,
  judgeSilence,
  nextJudgementMs,
  type ReportResult,
  setCordon,
  setDeaf,
  startInstance,
  type TrackingLimits,
  takeReport,
} from '../../core/tracking/instance-state.ts';
import { type Actor, assert, type Wake } from '../../lib/actor/actor.ts';
import type { InstanceStatus } from '../../proto/gen/messages.ts';

export type InstanceMessage =
  | { readonly type: 'report'; readonly status: InstanceStatus }
  | { readonly type: 'cordon'; readonly cordoned: boolean; readonly reason: CordonReason }
  /** This tracker's own hearing: deaf while the bus is away. */
  | { readonly type: 'hearing'; readonly deaf: boolean };

export type InstanceEffect =
  | { readonly type: 'changed'; readonly meaningful: boolean }
  | { readonly type: 'report_counted'; readonly result: ReportResult }
  | { readonly type: 'health_changed'; readonly from: Health; readonly to: Health; readonly silentMs: number }
  | { readonly type: 'forget' };

/** A wake-up later than this means that the process was held up: reports may be waiting unread, so silence says nothing. */
const lateWakeMs = 500;

export function instanceActor(limits: TrackingLimits): Actor<InstanceState, InstanceMessage, InstanceEffect> {
  function next(state: InstanceState, message: InstanceMessage | Wake, nowMs: number): readonly [InstanceState, readonly InstanceEffect[]] {
    switch (message.type) {
      case 'report': {
        const [after, result] = takeReport(state, message.status, nowMs);
        return [after, [{ type: 'report_counted', result }]];
      }
      case 'cordon':
        return [setCordon(state, message.cordoned, message.reason), []];
      case 'hearing':
        return [setDeaf(state, message.deaf, nowMs), []];
      case 'wake': {
        const dueMs = nextJudgementMs(state, limits);
        if (dueMs !== undefined && nowMs - dueMs > lateWakeMs) {
          return [judgeSilence(setDeaf(setDeaf(state, true, nowMs), false, nowMs), nowMs, limits), []];
        }
        const after = judgeSilence(state, nowMs, limits);
        return [after, isForgettable(after, nowMs, limits) ? [{ type: 'forget' }] : []];
      }
    }
  }

  return {
    kind: 'instance',
    start: startInstance,
    step(state, message, nowMs) {
      const [after, effects] = next(state, message, nowMs);
      if (after === state) return [state, effects];
      const all = [...effects];
      if (after.health !== state.health) {
        all.push({ type: 'health_changed', from: state.health, to: after.health, silentMs: nowMs - state.silentSinceMs });
      }
      all.push({ type: 'changed', meaningful: isMeaningfulChange(state, after) });
      return [after, all];
    },
    wakeAt: (state) => nextJudgementMs(state, limits),
    assertValid(state) {
      assert(state.cordoned || state.cordonReason === 'none', 'a cordon reason without a cordon');
      assert(!state.status || state.status.instanceId === state.instanceId, 'a report of another instance');
      assert(state.health !== 'healthy' || state.status !== undefined, 'healthy without a report');
    },
  };
}
