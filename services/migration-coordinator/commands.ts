// What operators and drain workflows ask of the coordinator. Every command may be repeated with its id: the second
// answer is the first one.
import { drainApproval } from '../../core/approval/requests.ts';
import { refusal, SwitchyardError, toRefusal } from '../../core/errors/switchyard-error.ts';
import { type DrainForecast, forecastDrain } from '../../core/migration/drain.ts';
import { planMove } from '../../core/migration/move-request.ts';
import type { PlanningView } from '../../core/migration/planning.ts';
import type { KnownInstance } from '../../core/tracking/fleet-view.ts';
import type { DrainPlan } from '../../core/workflows/catalogue.ts';
import type { Body, MessageContext } from '../../lib/ports/bus.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Lease } from '../../lib/ports/store.ts';
import type { Acknowledgement, DrainCommand, DrainReply, MoveCommand, MoveReply, Refusal, UndrainCommand } from '../../proto/gen/messages.ts';
import type { MigrationCoordinatorConfig } from './config.ts';
import { createDrains } from './drains.ts';
import type { Effects } from './effects.ts';
import { drainIdOf } from './ids.ts';
import type { Migrations } from './migrations.ts';

/**
 * What was named and is not in the view, or is not as far as it should be, may only not have been reported yet: a report takes
 * about 100 ms to get here. Newer views are waited for this long before what the view says is taken for the truth, ms.
 */
const reportMs = 1_000;
/** Left of the question's deadline for the answer to travel, ms. */
const answerMs = 200;
/** Answers that are kept for repeats; the oldest are forgotten first. */
const keptAnswers = 1_000;

export interface CommandsOptions {
  readonly config: () => MigrationCoordinatorConfig;
  readonly ports: Ports;
  readonly effects: Effects;
  readonly migrations: Migrations;
  readonly lease: () => Lease | undefined;
  /** The fleet as it is now; undefined: unknown, or too old. */
  readonly view: () => PlanningView | undefined;
  /** Resolves with true when a newer view has come, with false after so many ms. */
  readonly newerView: (withinMs: number) => Promise<boolean>;
}

export function createCommands(options: CommandsOptions) {
  const { ports, effects, migrations } = options;
  const drains = createDrains(effects);
  const { clock } = ports;

  /** @throws SwitchyardError `not_owner` */
  function requireLease(): Lease {
    const lease = options.lease();
    if (!lease) throw new SwitchyardError('not_owner', `${ports.identity.id} does not coordinate; ask again`);
    return lease;
  }

  /** What is needed to decide, or why it is not there. */
  function ready(): { lease: Lease; view: PlanningView } | Refusal {
    const lease = requireLease();
    if (!migrations.recovered())
      return refusal('workflows_unavailable', 'the coordinator has just taken over and waits for Temporal; ask again', 1_000);
    const view = options.view();
    return view ? { lease, view } : refusal('stale_view', 'the fleet view is missing or too old: is an instance tracker running?', 1_000);
  }

  /**
   * Decides in the turn in which the view is read; from a newer view again while the decision is undefined, which it must not be
   * once `mayWait` is false.
   */
  async function decideReported<T>(
    context: MessageContext,
    decide: (view: PlanningView, lease: Lease, mayWait: boolean) => T | Refusal | undefined,
  ): Promise<T | Refusal> {
    const untilMs = Math.min(clock.now() + reportMs, context.meta.deadlineMs - answerMs);
    for (let mayWait = true; ; mayWait = await options.newerView(untilMs - clock.now())) {
      const given = ready();
      if ('code' in given) return given;
      const decided = decide(given.view, given.lease, mayWait);
      if (decided !== undefined) return decided;
    }
  }

  async function move(command: MoveCommand, context: MessageContext): Promise<Body<MoveReply>> {
    const answer = await decideMove(command, context);
    if (command.reason === 'operator') {
      effects.audit({
        kind: answer.refusal ? 'migration.refused' : 'migration.requested',
        actor: command.requestedBy,
        target: command.requestId,
        detail: { target: answer.plan?.targetInstanceId ?? command.targetInstanceId, code: answer.refusal?.code ?? '', workflow: answer.workflowId },
        commandId: context.meta.id,
      });
    }
    return answer;
  }

  async function decideMove(command: MoveCommand, context: MessageContext): Promise<Body<MoveReply>> {
    // A drain looks again by itself: what it does not find has mostly ended.
    const worthWaiting = command.reason === 'operator';
    const decided = await decideReported(context, (view, lease, mayWait) => {
      const { move, refusal: refused, early } = planMove(view, command, options.config());
      if (early && worthWaiting && mayWait) return undefined;
      // Launched in the turn of the decision: of two commands for a request the second sees the first.
      return move ? { launching: migrations.launch([move], lease, command.requestedBy) } : refused;
    });
    if ('code' in decided) {
      const running = migrations.find(command.requestId);
      // Who asks for a move that is under way learns which one it is.
      const underWay = decided.code === 'already_moving' && running ? { plan: running, workflowId: running.migrationId } : { workflowId: '' };
      return { refusal: decided, ...underWay };
    }
    const [launched] = await decided.launching;
    if (launched?.result === 'started') return { plan: launched.plan, workflowId: launched.plan.migrationId };
    if (launched?.result === 'not_saved')
      return { refusal: refusal('store_unavailable', 'the plan could not be saved; ask again', 1_000), workflowId: '' };
    return {
      refusal: refusal('workflows_unavailable', 'Temporal did not answer; the migration may run nevertheless, see "switchyard status"', 2_000),
      workflowId: launched?.plan.migrationId ?? '',
    };
  }

  async function drain(command: DrainCommand, context: MessageContext): Promise<Body<DrainReply>> {
    const answer = await decideDrain(command, context).catch((thrown) => {
      if (thrown instanceof SwitchyardError && thrown.code === 'not_owner') throw thrown;
      return { refusal: toRefusal(thrown), workflowId: '', approvalId: '' };
    });
    effects.audit({
      kind: answer.refusal ? 'drain.refused' : 'drain.requested',
      actor: command.requestedBy,
      target: command.instanceId,
      detail: { note: command.note, code: answer.refusal?.code ?? '', workflow: answer.workflowId, approval: answer.approvalId },
      commandId: context.meta.id,
    });
    return answer;
  }

  async function decideDrain(command: DrainCommand, context: MessageContext): Promise<Body<DrainReply>> {
    const no = (why: Refusal) => ({ refusal: why, workflowId: '', approvalId: '' });
    const { instanceId } = command;
    const given = await findInstance(instanceId, context);
    if ('code' in given) return no(given);
    if (given.instance.cordoned && given.instance.cordonReason === 'scale_in')
      return no(refusal('scaling_in_progress', `${instanceId} is being emptied by a scale-in already`));
    await drains.refresh();
    const running = drains.find(instanceId);
    if (running) return { workflowId: running, approvalId: await drains.approvalOf(running) };
    // From here to the start nothing is awaited: of two drains that come together the second one sees the first.
    const now = ready();
    if ('code' in now) return no(now);
    const forecast = forecastDrain(now.view, instanceId, drains.leaving(), options.config());
    if ('code' in forecast) return no(forecast);
    const plan = drainPlan(command, forecast, drainIdOf(instanceId, context.meta.id));
    await drains.begin(plan);
    return { workflowId: plan.drainId, approvalId: plan.approval?.approvalId ?? '' };
  }

  async function findInstance(instanceId: string, context: MessageContext): Promise<{ instance: KnownInstance } | Refusal> {
    const unknown = refusal('unknown_instance', `no instance ${instanceId}; see "switchyard instances"`);
    return decideReported(context, (view, _lease, mayWait) => {
      const instance = view.instances.find((each) => each.status.instanceId === instanceId);
      if (instance) return { instance };
      return mayWait ? undefined : unknown;
    });
  }

  function drainPlan(command: DrainCommand, forecast: DrainForecast, drainId: string): DrainPlan {
    const { pool } = forecast.instance.status;
    const config = options.config();
    const withinMs = command.withinMs > 0 ? command.withinMs : config.drainWithinMs;
    const plan: DrainPlan = {
      drainId,
      instanceId: command.instanceId,
      pool,
      reason: 'drain',
      requestedBy: command.requestedBy,
      withinMs,
      approval: null,
    };
    if (!forecast.isLast) return plan;
    const nowMs = clock.now();
    const details = [
      `Before: ${command.instanceId} is the only instance of ${pool} that takes requests. Afterwards ${pool} takes none.`,
      `It serves ${forecast.instance.status.running} requests and ${forecast.instance.status.waiting} wait; ${forecast.moves.length} could move elsewhere, the others finish there or stay.`,
      `Undo: switchyard undrain ${command.instanceId}.`,
      ...(command.note === '' ? [] : [`Note of ${command.requestedBy}: ${command.note}`]),
    ];
    const approval = drainApproval(plan, {
      nowMs,
      expiresAtMs: nowMs + config.approvalWithinMs,
      useWithinMs: config.approvalUseWithinMs,
      quorum: config.approvalQuorum,
      details,
    });
    return { ...plan, approval };
  }

  async function undrain(command: UndrainCommand, context: MessageContext): Promise<Body<Acknowledgement>> {
    const answer = await decideUndrain(command, context).catch((thrown) => {
      if (thrown instanceof SwitchyardError && thrown.code === 'not_owner') throw thrown;
      return { refusal: toRefusal(thrown) };
    });
    effects.audit({
      kind: answer.refusal ? 'undrain.refused' : 'undrain.requested',
      actor: command.requestedBy,
      target: command.instanceId,
      detail: { code: answer.refusal?.code ?? '' },
      commandId: context.meta.id,
    });
    return answer;
  }

  async function decideUndrain({ instanceId }: UndrainCommand, context: MessageContext): Promise<Body<Acknowledgement>> {
    const given = await findInstance(instanceId, context);
    if ('code' in given) return { refusal: given };
    const { cordoned, cordonReason } = given.instance;
    if (cordoned && cordonReason === 'scale_in')
      return { refusal: refusal('scaling_in_progress', `${instanceId} is being removed by a scale-in; scale the pool instead`) };
    await drains.refresh();
    const running = drains.find(instanceId);
    // The drain must not cordon it again after we have let it in.
    if (running) await effects.cancelDrain(running);
    const { refusal: refused } = await effects.liftCordon(instanceId);
    return { refusal: refused ?? null };
  }

  return {
    move: answeringOnce(move),
    drain: answeringOnce(drain),
    undrain: answeringOnce(undrain),
    list: () => {
      requireLease();
      return migrations.listing();
    },
  };
}

/** A repeat of a command waits for, and gets, the answer to the first. Failures are not kept: they may be tried again. */
function answeringOnce<Q, A>(handler: (question: Q, context: MessageContext) => Promise<A>) {
  const answers = new Map<string, Promise<A>>();
  return (question: Q, context: MessageContext): Promise<A> => {
    const known = answers.get(context.meta.id);
    if (known) return known;
    const answer = handler(question, context);
    answers.set(context.meta.id, answer);
    if (answers.size > keptAnswers) answers.delete(answers.keys().next().value!);
    answer.catch(() => answers.delete(context.meta.id));
    return answer;
  };
}
