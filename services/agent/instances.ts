// The engines of this process: started, stopped, each with its commands and its reports.
import { refusalOfStatus } from '../../core/engine/engine-answer.ts';
import { refusal } from '../../core/errors/switchyard-error.ts';
import type { ActorHost } from '../../lib/actor/host.ts';
import { roleOf } from '../../lib/config/instance-role.ts';
import { createEngine } from '../../lib/engines/create-engine.ts';
import { createTurns } from '../../lib/kv/turns.ts';
import type { Subscription } from '../../lib/ports/bus.ts';
import type { EngineAdapter, EngineHooks, StageTarget } from '../../lib/ports/engines.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Refusal } from '../../proto/gen/messages.ts';
import { type InstanceMessage, type InstanceState, takesRequests } from './actor.ts';
import { serveCommands } from './commands.ts';
import type { AgentConfig } from './config.ts';
import type { GenerateSpans } from './generate-spans.ts';
import { createKvGiver, type KvGiver } from './kv-giver.ts';
import { createReporter, type Reporter } from './status.ts';

export interface Hosted {
  readonly instanceId: string;
  readonly pool: string;
  readonly model: string;
  readonly adapter: EngineAdapter;
  readonly reporter: Reporter;
  readonly commands: readonly Subscription[];
  readonly giver: KvGiver;
}

export interface Instances {
  get(instanceId: string): Hosted | undefined;
  all(): Hosted[];
  /** Idempotent by instance id. Refused: `unknown_pool`, `out_of_range`. @throws SwitchyardError `invalid_config` for an impossible engine */
  start(poolId: string, instanceId: string): Refusal | undefined;
  /** Ends what is left with an error that lets gateways continue elsewhere. Unknown instances are fine. */
  stop(instanceId: string): Promise<void>;
  /** Engines answer like this from now on; those that are not named are themselves. */
  pretend(answers: AgentConfig['pretend']): void;
  /** Which instance a KV transfer is for. */
  incoming(reservationId: string, transferToken: string): { target: StageTarget; instanceId: string } | Refusal;
  /** Resolves when no engine has a sequence. */
  empty(): Promise<void>;
}

export interface InstancesOptions {
  readonly config: AgentConfig;
  readonly ports: Ports;
  readonly actors: ActorHost<InstanceState, InstanceMessage>;
  readonly spans: GenerateSpans;
  /** Known once the listeners are. */
  readonly addresses: () => { link: string; kv: string };
}

export function createInstances(options: InstancesOptions): Instances {
  const { config, ports, actors, spans } = options;
  const hosted = new Map<string, Hosted>();
  const whenEmpty: (() => void)[] = [];
  const turns = createTurns(ports.clock);

  function checkEmpty(): void {
    if (whenEmpty.length === 0 || [...hosted.values()].some(({ adapter }) => adapter.size > 0)) return;
    for (const resolve of whenEmpty.splice(0)) resolve();
  }

  function start(poolId: string, instanceId: string): Refusal | undefined {
    const pool = config.fleet.pools.find(({ id }) => id === poolId);
    if (!pool) return refusal('unknown_pool', `there is no pool ${poolId} in the fleet file`);
    if (hosted.has(instanceId)) return undefined;
    if (hosted.size >= config.maxInstances) return refusal('out_of_range', `this process carries at most ${config.maxInstances} engines`);
    const model = pool.models[0]!;
    let reporter: Reporter | undefined;
    let isReady = false;
    let unfit: Refusal | undefined;
    let toldAway: string | undefined;
    const accepting = () => {
      const state = actors.state(instanceId);
      return isReady && !adapter.unfit?.() && (!state || takesRequests(state));
    };
    const away = () => (isReady ? adapter.unfit?.() : undefined);
    const setAside = () => unfit ?? away() ?? actors.state(instanceId)?.engine.aside;
    const hooks: EngineHooks = {
      onEvents(events) {
        spans.spoken(events);
        actors.tell(instanceId, { type: 'events', events });
      },
      onLifecycle: (event) => spans.lifecycle(event),
      onChange() {
        tellAway();
        reporter?.soon();
        checkEmpty();
      },
    };
    const adapter = createEngine({ pool, instanceId, files: config, ports, hooks });
    isReady = !adapter.ready;

    function tellAway(): void {
      const why = away();
      if (why?.message === toldAway) return;
      toldAway = why?.message;
      const { log } = ports.telemetry;
      if (why) log.warn('engine takes no requests', { instance: instanceId, code: why.code, error: why.message });
      else log.info('engine takes requests again', { instance: instanceId });
    }

    void adapter.ready?.then((why) => {
      isReady = !why;
      unfit = why;
      if (why) ports.telemetry.log.error('engine cannot be used', { instance: instanceId, code: why.code, error: why.message });
      tellAway();
      reporter?.soon();
    });
    const { link, kv } = options.addresses();
    const facts = { instanceId, pool: poolId, model, role: roleOf(pool, instanceId), address: link, kvAddress: adapter.kv ? kv : '' };
    reporter = createReporter({ ports, adapter, facts, accepting, setAside, reportMinMs: config.reportMinMs, heartbeatMs: config.heartbeatMs });
    const { stageTimeoutMs } = config;
    const released = (requestId: string, epoch: number) => void actors.tell(instanceId, { type: 'released', requestId, epoch });
    const giver = createKvGiver({ ports, adapter, instanceId, stageTimeoutMs, turns, released });
    const newestEpoch = (requestId: string) => actors.state(instanceId)?.newestEpoch.get(requestId);
    const commands = serveCommands({ ports, adapter, giver, instanceId, kvAddress: kv, linkAddress: link, accepting, newestEpoch });
    hosted.set(instanceId, { instanceId, pool: poolId, model, adapter, reporter, commands, giver });
    pretend(instanceId, config.pretend[instanceId]);
    reporter.now();
    ports.telemetry.log.info('instance started', { instance: instanceId, pool: poolId, engine: adapter.engine });
    return undefined;
  }

  async function stop(instanceId: string): Promise<void> {
    const found = hosted.get(instanceId);
    if (!found) return;
    actors.tell(instanceId, { type: 'stop_accepting' });
    actors.tell(instanceId, { type: 'end_all', error: refusal('draining', `instance ${instanceId} is stopping`, 100) });
    found.reporter.now();
    found.reporter.stop();
    hosted.delete(instanceId);
    actors.stop(instanceId);
    await Promise.all(found.commands.map((command) => command.stop()));
    try {
      await found.adapter.close();
    } catch (thrown) {
      ports.telemetry.log.error('instance ended with its KV blocks in disorder', { instance: instanceId, error: String(thrown) });
    }
    ports.telemetry.log.info('instance stopped', { instance: instanceId });
    checkEmpty();
  }

  function pretend(instanceId: string, answer: AgentConfig['pretend'][string] | undefined): void {
    hosted.get(instanceId)?.adapter.pretend?.(answer && refusalOfStatus(answer.status, answer.retryAfterMs));
  }

  return {
    get: (instanceId) => hosted.get(instanceId),
    all: () => [...hosted.values()],
    start,
    stop,
    pretend(answers) {
      for (const instanceId of hosted.keys()) pretend(instanceId, answers[instanceId]);
    },
    incoming(reservationId, transferToken) {
      let why: Refusal = refusal('unknown_reservation', `no reservation ${reservationId} here`);
      for (const { adapter, instanceId } of hosted.values()) {
        const target = adapter.kv?.incoming(reservationId, transferToken);
        if (target && !('code' in target)) return { target, instanceId };
        if (target && target.code !== 'unknown_reservation') why = target;
      }
      return why;
    },
    empty() {
      const emptied = new Promise<void>((resolve) => whenEmpty.push(resolve));
      checkEmpty();
      return emptied;
    },
  };
}
