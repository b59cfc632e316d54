// What operators ask of a pool's owner: a size, a mode, how things are. A repeated command gets the first answer.
import { approvalIdOf } from '../../core/approval/requests.ts';
import { refusal, SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { pending, serving, supply } from '../../core/scaling/pool-view.ts';
import { planScale, refuseTarget } from '../../core/scaling/scale-plan.ts';
import type { Body, MessageContext } from '../../lib/ports/bus.ts';
import type { Acknowledgement, PoolStatus, Refusal, ScaleCommand, ScalePlan, ScaleReply, ScalingModeCommand } from '../../proto/gen/messages.ts';
import { desiredSize, type PoolSettings, type PoolState, viewOf } from './actor.ts';
import type { AutoscalerConfig } from './config.ts';
import type { Effects } from './effects.ts';

/** Answers that are kept for repeats; the oldest are forgotten first. */
const keptAnswers = 1_000;

export interface CommandsOptions {
  readonly config: () => AutoscalerConfig;
  readonly settings: () => PoolSettings;
  readonly effects: Effects;
  readonly nowMs: () => number;
  /** The state of a pool that is owned here, brought up to date with the newest view. */
  readonly owned: (pool: string) => PoolState | undefined;
  /** Saves and starts. Resolves with the refusal when it did not work. */
  readonly launch: (plan: ScalePlan) => Promise<Refusal | undefined>;
  readonly setMode: (pool: string, mode: ScalingModeCommand['mode']) => void;
}

export function createCommands(options: CommandsOptions) {
  const { effects } = options;
  const answers = new Map<string, Promise<Body<ScaleReply>>>();

  /** @throws SwitchyardError `not_owner` */
  function requireOwned(pool: string): PoolState {
    const state = options.owned(pool);
    if (!state) throw new SwitchyardError('not_owner', `the scaler of pool ${pool} is changing hands; ask again`);
    return state;
  }

  function scale(command: ScaleCommand, context: MessageContext): Promise<Body<ScaleReply>> {
    const { id } = context.meta;
    const known = answers.get(id);
    if (known) return known;
    const answer = decideScale(command, id);
    answers.set(id, answer);
    if (answers.size > keptAnswers) answers.delete(answers.keys().next().value!);
    answer.then(
      (reply) => {
        effects.audit(
          reply.refusal ? 'scale.refused' : 'scale.requested',
          command.requestedBy,
          command.pool,
          { target: command.target, note: command.note, code: reply.refusal?.code ?? '', workflow: reply.workflowId, approval: reply.approvalId },
          id,
        );
      },
      () => answers.delete(id),
    );
    return answer;
  }

  async function decideScale(command: ScaleCommand, commandId: string): Promise<Body<ScaleReply>> {
    const state = requireOwned(command.pool);
    const nowMs = options.nowMs();
    const settings = options.settings();
    const view = viewOf(state, settings, nowMs);
    const from = supply(view);
    const scaleId = `scale-${command.pool}-${commandId.replace(/[^0-9a-zA-Z]/g, '').slice(-12)}`;
    // The same command came to a predecessor: its plan is ours now.
    if (state.plan?.scaleId === scaleId) return started(state.plan);
    const refused = refuseTarget(view, command.target, options.config().maxViewAgeMs);
    if (refused) return { refusal: refused, workflowId: '', approvalId: '', from, to: command.target };
    if (command.target === from) return { workflowId: '', approvalId: '', from, to: from };
    const plan = planScale(view, command.target, {
      ...settings,
      scaleId,
      epoch: state.epoch,
      requestedBy: command.requestedBy,
      reasons: [`${command.requestedBy || 'An operator'} asked for ${command.target} instances${command.note === '' ? '' : `: ${command.note}`}.`],
    });
    const failed = await options.launch(plan);
    return failed ? { refusal: failed, workflowId: '', approvalId: '', from, to: command.target } : started(plan);
  }

  async function setMode(command: ScalingModeCommand, context: MessageContext): Promise<Body<Acknowledgement>> {
    const { pool, mode, requestedBy } = command;
    requireOwned(pool);
    const known = mode === 'off' || mode === 'advisory' || mode === 'active';
    if (!known) return { refusal: refusal('invalid_request', `there is no mode "${String(mode)}"; use off, advisory or active`) };
    // Stored first: an acknowledged mode survives the death of every process.
    await effects.saveMode(pool, mode);
    options.setMode(pool, mode);
    effects.audit('scaling_mode.set', requestedBy, pool, { mode }, context.meta.id);
    return {};
  }

  function statusOf(state: PoolState): PoolStatus {
    const settings = options.settings();
    const view = viewOf(state, settings, options.nowMs());
    const model = options.config().fleet.pools.find((pool) => pool.id === state.pool)?.models[0] ?? '';
    const running = view.instances.filter((instance) => instance.health === 'healthy' && instance.cordonReason !== 'scale_in');
    return {
      pool: state.pool,
      model,
      current: running.length,
      pending: pending(view).length,
      desired: state.decision || state.plan ? desiredSize(state) : supply(view),
      ...view.bounds,
      mode: state.mode,
      policy: settings.policy.name,
      meanFreenessSteps: serving(view).length > 0 ? (state.decision?.meanFreenessSteps ?? 0) : 0,
      reasons: state.decision?.reasons.map((reason) => reason.text) ?? [],
      epoch: state.epoch,
      decidedAtMs: state.decidedAtMs,
    };
  }

  return { scale, setMode, statusOf };
}

function started(plan: ScalePlan): Body<ScaleReply> {
  return { workflowId: plan.scaleId, approvalId: plan.needsApproval ? approvalIdOf(plan.scaleId) : '', from: plan.from, to: plan.to };
}
