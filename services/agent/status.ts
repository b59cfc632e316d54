// Status reports of one instance: soon after a change, and a heartbeat. Later ones replace earlier ones, so any may be lost.
import { instanceStatus } from '../../lib/contracts.ts';
import type { Cancel } from '../../lib/ports/clock.ts';
import type { EngineAdapter } from '../../lib/ports/engines.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { InstanceStatus, Refusal } from '../../proto/gen/messages.ts';
import { createCachedReports } from './cached-reports.ts';

export interface ReporterOptions {
  readonly ports: Ports;
  readonly adapter: EngineAdapter;
  readonly facts: Pick<InstanceStatus, 'instanceId' | 'pool' | 'model' | 'role' | 'address' | 'kvAddress'>;
  readonly accepting: () => boolean;
  /** What its engine answers, if that is why it accepts nothing. */
  readonly setAside: () => Pick<Refusal, 'code' | 'message'> | undefined;
  readonly reportMinMs: number;
  readonly heartbeatMs: number;
}

export interface Reporter {
  /** Something has changed. */
  soon(): void;
  now(): void;
  stop(): void;
}

export function createReporter(options: ReporterOptions): Reporter {
  const { adapter, facts } = options;
  const { bus, clock, identity, telemetry } = options.ports;
  const incarnation = clock.now();
  const labels = { pool: facts.pool, instance_id: facts.instanceId };
  const gauges = {
    running: telemetry.gauge('switchyard_engine_running'),
    waiting: telemetry.gauge('switchyard_engine_waiting'),
    blocks: telemetry.gauge('switchyard_engine_blocks'),
    free: telemetry.gauge('switchyard_engine_blocks_free'),
    reserved: telemetry.gauge('switchyard_engine_blocks_reserved'),
    aside: telemetry.gauge('switchyard_engine_set_aside'),
  };
  const steps = telemetry.counter('switchyard_engine_steps_total');
  const preemptions = telemetry.counter('switchyard_engine_preemptions_total');
  const tokens = telemetry.counter('switchyard_engine_tokens_total');
  const tellCached = createCachedReports({ bus, clock, adapter, incarnation, pool: facts.pool, instanceId: facts.instanceId });
  let counted = { steps: 0, preemptions: 0, tokensOut: 0, tokensIn: 0 };
  let sequenceNumber = 0;
  let lastMs = Number.NEGATIVE_INFINITY;
  let dueMs = Number.POSITIVE_INFINITY;
  let cancel: Cancel = () => {};
  let stopped = false;

  function schedule(atMs: number): void {
    if (stopped || atMs >= dueMs) return;
    cancel();
    dueMs = atMs;
    cancel = clock.after(Math.max(0, atMs - clock.now()), report);
  }

  function report(): void {
    cancel();
    if (stopped) return;
    const { steps: stepCount, tokensIn, loadAtMs = 0, ...status } = adapter.status();
    const setAside = options.setAside();
    lastMs = clock.now();
    bus.publish(instanceStatus, [facts.pool, facts.instanceId], {
      ...facts,
      ...status,
      engine: adapter.engine,
      agentId: identity.id,
      pid: identity.pid,
      incarnation,
      sequenceNumber: ++sequenceNumber,
      atMs: lastMs,
      capabilities: [...adapter.supports],
      accepting: options.accepting(),
      setAside: setAside?.code ?? '',
      setAsideWhy: setAside?.message ?? '',
      loadAtMs,
    });
    tellCached();
    gauges.running.set(status.running, labels);
    gauges.waiting.set(status.waiting, labels);
    gauges.blocks.set(status.totalBlocks, labels);
    gauges.free.set(status.freeBlocks, labels);
    gauges.reserved.set(status.reservedBlocks, labels);
    gauges.aside.set(setAside ? 1 : 0, labels);
    steps.add(stepCount - counted.steps, labels);
    preemptions.add(status.preemptions - counted.preemptions, labels);
    tokens.add(status.tokensOut - counted.tokensOut, { ...labels, kind: 'output' });
    tokens.add(tokensIn - counted.tokensIn, { ...labels, kind: 'prompt' });
    counted = { steps: stepCount, preemptions: status.preemptions, tokensOut: status.tokensOut, tokensIn };
    dueMs = Number.POSITIVE_INFINITY;
    schedule(lastMs + options.heartbeatMs);
  }

  return {
    soon: () => schedule(Math.max(clock.now(), lastMs + options.reportMinMs)),
    now: report,
    stop() {
      stopped = true;
      cancel();
      for (const gauge of Object.values(gauges)) gauge.set(0, labels);
    },
  };
}
