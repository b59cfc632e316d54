// The worker: hosts all workflows and their activities, and is where people's votes come in. Any number may run.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { hostActors } from '../../lib/actor/host.ts';
import * as contracts from '../../lib/contracts.ts';
import type { MessageContext } from '../../lib/ports/bus.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Running, Service } from '../../lib/run/service.ts';
import type { VoteCommand, VoteReply } from '../../proto/gen/messages.ts';
import { createActivities } from '../../workflows/activities.ts';
import { bundleWorkflows } from '../../workflows/bundle.ts';
import { type VoteOutcome, type VotesEffect, votesActor } from './actor.ts';
import { type WorkerConfig, workerSchema } from './config.ts';
import { createEffects } from './effects.ts';

const group = 'workers';

async function start(config: WorkerConfig, ports: Ports): Promise<Running<WorkerConfig>> {
  const { bus, clock, telemetry, workflows } = ports;
  const effects = createEffects(ports, config);
  const votes = telemetry.counter('switchyard_votes_total');
  const actors = hostActors({ actor: votesActor(config), clock, telemetry, perform });
  /** By vote id; as many as the actors hold, plus those being refused. */
  const answers = new Map<string, (outcome: VoteOutcome) => void>();

  function perform(approvalId: string, effect: VotesEffect): void {
    switch (effect.type) {
      case 'ask_workflow': {
        const { voteId, ballot } = effect;
        void effects.askWorkflow(approvalId, ballot).then((outcome) => actors.tell(approvalId, { type: 'decided', voteId, outcome }));
        return;
      }
      case 'audit_refused': {
        const { voteId, ballot } = effect;
        void effects
          .auditRefused(approvalId, voteId, ballot, effect.refusal)
          .then((failure) => actors.tell(approvalId, { type: 'audited', voteId, failure }));
        return;
      }
      case 'answer':
        votes.add(1, { result: effect.outcome.refusal?.code ?? 'accepted' });
        answers.get(effect.voteId)?.(effect.outcome);
        return;
      case 'forget':
        actors.stop(approvalId);
        return;
    }
  }

  async function takeVote(command: VoteCommand, context: MessageContext): Promise<Omit<VoteReply, 'meta'>> {
    const { approvalId, voter, decision, actionHash, reason } = command;
    if (approvalId === '') throw new SwitchyardError('invalid_request', 'a vote names its approval');
    const voteId = context.meta.id;
    if (answers.has(voteId)) throw new SwitchyardError('already_voted', 'this vote is being counted');
    try {
      const outcome = await new Promise<VoteOutcome>((resolve) => {
        answers.set(voteId, resolve);
        actors.tell(approvalId, { type: 'vote', voteId, ballot: { voter, decision, actionHash, reason } });
      });
      telemetry.log.info('vote', { approval: approvalId, voter, decision, result: outcome.refusal?.code ?? 'accepted' });
      return { refusal: outcome.refusal ?? null, approval: outcome.approval ?? null };
    } finally {
      answers.delete(voteId);
    }
  }

  const hosting = workflows.host(createActivities(ports, config), {
    bundle: async () => config.bundlePath || (await bundleWorkflows()),
    maxActivities: config.maxActivities,
  });
  const served = [
    bus.serve(contracts.vote, [], takeVote, { group }),
    bus.serve(contracts.listApprovals, [], async ({ includeEnded }) => ({ approvals: await effects.listApprovals(includeEnded) }), { group }),
  ];

  return {
    ready: () => (bus.connected() ? hosting.ready() : 'the bus is away'),
    owns: () => [],
    async drain(withinMs) {
      // Votes first: they need the workflows.
      await Promise.all(served.map((subscription) => subscription.stop()));
      await hosting.stop(withinMs);
      actors.stopAll();
    },
  };
}

export const worker: Service<WorkerConfig> = { name: 'worker', schema: workerSchema, start };
