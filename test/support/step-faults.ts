// Runs a workflow body again and again, with one thing going wrong at each of its steps in turn, and has the world
// checked afterwards. Every body is put through all of it (test/workflows/steps.test.ts).
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { ActivityImplementations, ActivityName } from '../../core/workflows/activities.ts';
import type { WorkflowInputs, WorkflowName, WorkflowResults } from '../../core/workflows/catalogue.ts';
import type { ActivityContext } from '../../core/workflows/control.ts';
import { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import type { Workflows } from '../../lib/ports/workflows.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { createMemoryWorkflows } from '../../lib/workflows/memory-workflows.ts';

export const faults = [
  'fails',
  'is done but its answer is lost for good',
  'is done but its answer is lost once',
  'is done twice',
  'is cancelled before',
  'is cancelled after',
  'gives up because of a cancellation',
] as const;
export type Fault = (typeof faults)[number];

export interface World<N extends WorkflowName> {
  readonly activities: ActivityImplementations;
  /** What people do meanwhile, for example vote. Runs beside the workflow. */
  drive?(workflows: Workflows): Promise<void>;
  /** The same as `check`, but right at the end of the workflow: what runs out by itself has not yet. */
  checkAtOnce?(fault: PlannedFault[]): void;
  /** Throws when the world is not as it must be. `result` is undefined when the workflow failed. */
  check(result: WorkflowResults[N] | undefined, fault: PlannedFault[]): void;
}

export interface Subject<N extends WorkflowName> {
  readonly name: N;
  readonly id: string;
  readonly input: (clock: VirtualClock) => WorkflowInputs[N];
  readonly world: (clock: VirtualClock) => World<N>;
}

export interface PlannedFault {
  /** Index among the calls of the run. */
  readonly step: number;
  readonly fault: Fault;
}

export interface RunReport<N extends WorkflowName> {
  readonly calls: readonly ActivityName[];
  readonly result: WorkflowResults[N] | undefined;
}

/** Longer than every lease, reservation and time limit of the plans used in tests. */
const settleMs = 3_600_000;

/** One run in a fresh world, with `planned` going wrong. @throws what the world's check throws */
export async function runWithFaults<N extends WorkflowName>(subject: Subject<N>, planned: PlannedFault[]): Promise<RunReport<N>> {
  const clock = new VirtualClock();
  const world = subject.world(clock);
  const telemetry = createMemoryTelemetry(clock, { process: 'test' });
  const workflows = createMemoryWorkflows({ clock, telemetry });
  const calls: ActivityName[] = [];
  /** The step of the newest call of each activity: later attempts belong to it. */
  const stepOf = new Map<ActivityName, number>();

  const activities: Record<string, (context: ActivityContext, input: never) => Promise<unknown>> = {};
  for (const name of Object.keys(world.activities) as ActivityName[]) {
    const run = world.activities[name] as (context: ActivityContext, input: never) => Promise<unknown>;
    activities[name] = async (context, input) => {
      if (context.attempt === 1) stepOf.set(name, calls.push(name) - 1);
      const fault = planned.find((each) => each.step === stepOf.get(name))?.fault;
      const lost = new SwitchyardError(fault === 'is done but its answer is lost once' ? 'timeout' : 'internal', `injected: ${name} ${fault}`);
      switch (fault) {
        case undefined:
          return run(context, input);
        case 'fails':
          throw lost;
        case 'is done but its answer is lost for good':
          await run(context, input);
          throw lost;
        case 'is done but its answer is lost once': {
          const answer = await run(context, input);
          if (context.attempt === 1) throw lost;
          return answer;
        }
        case 'is done twice':
          await run(context, input);
          return run(context, input);
        case 'is cancelled before':
          await workflows.cancel(subject.id);
          return run(context, input);
        case 'gives up because of a cancellation':
          await workflows.cancel(subject.id);
          // A shielded step is not told.
          if (context.signal.aborted) throw new SwitchyardError('cancelled', 'told to stop');
          return run(context, input);
        case 'is cancelled after': {
          const answer = await run(context, input);
          await workflows.cancel(subject.id);
          return answer;
        }
      }
    };
  }
  workflows.host(activities as unknown as ActivityImplementations);

  await workflows.start(subject.name, subject.id, subject.input(clock));
  let ended = false;
  let result: WorkflowResults[N] | undefined;
  const end = workflows
    .result(subject.name, subject.id)
    .then((value) => {
      result = value;
    })
    .catch(() => {})
    .finally(() => {
      ended = true;
    });
  const driving = world.drive?.(workflows);
  await clock.until(() => ended, settleMs);
  await end;
  world.checkAtOnce?.(planned);
  // Leases and reservations that nobody gave back run out.
  await clock.advance(settleMs);
  await driving;
  world.check(result, planned);
  return { calls, result };
}

/** Every fault at every step of an undisturbed run, and at the steps that a first failure leads to. */
export async function runWithEachFault<N extends WorkflowName>(subject: Subject<N>): Promise<{ runs: number; steps: readonly ActivityName[] }> {
  const { calls } = await runWithFaults(subject, []);
  let runs = 1;
  const attempt = async (planned: PlannedFault[]) => {
    runs++;
    try {
      return await runWithFaults(subject, planned);
    } catch (thrown) {
      const story = planned.map(({ step, fault }) => `step ${step} ${fault}`).join(', then ');
      throw new Error(`${subject.name}: ${story}: ${thrown instanceof Error ? thrown.message : thrown}`, { cause: thrown });
    }
  };
  for (let step = 0; step < calls.length; step++) {
    for (const fault of faults) {
      const report = await attempt([{ step, fault }]);
      // What follows a fault is the undoing of it: that too may be repeated, or its answer lost.
      for (let next = step + 1; next < report.calls.length; next++) {
        await attempt([
          { step, fault },
          { step: next, fault: 'is done twice' },
        ]);
        await attempt([
          { step, fault },
          { step: next, fault: 'is done but its answer is lost once' },
        ]);
        await attempt([
          { step, fault },
          { step: next, fault: 'is cancelled before' },
        ]);
      }
    }
  }
  return { runs, steps: calls };
}
