// Starts the probe thread and keeps it informed: a heartbeat from the main loop, readiness, and the metrics when somebody
// asks for them.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Worker } from 'node:worker_threads';
import { advertised, bracketed, listenFailure } from '../../net/node-net.ts';
import { type Clock, every } from '../../ports/clock.ts';
import type { OtelTelemetry } from '../otel.ts';
import type { FromProbe, ProbeStart, ToProbe } from './messages.ts';

export interface Probe {
  /** For example http://127.0.0.1:9464 */
  readonly address: string;
  /** Tells the thread at once, for changes that must not wait for the next beat. */
  update(): void;
  close(): Promise<void>;
}

export interface ProbeOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly clock: Clock;
  readonly telemetry: Pick<OtelTelemetry, 'gauge' | 'metricsText' | 'log'>;
  /** True, or the reason why not. */
  readonly ready: () => true | string;
  readonly service: string;
  readonly unhealthyAfterMs?: number;
}

const beatEveryMs = 100;
/** Each look wakes an idle process: 10 ms cost 4 ms of CPU a second, 25 ms less than half of it. */
const delayResolutionMs = 25;

/** @throws SwitchyardError `port_taken` */
export async function startProbe(options: ProbeOptions): Promise<Probe> {
  const { clock, telemetry, host, port } = options;
  const buffer = new SharedArrayBuffer(BigInt64Array.BYTES_PER_ELEMENT);
  const heartbeat = new BigInt64Array(buffer);
  const beat = () => Atomics.store(heartbeat, 0, BigInt(Math.round(clock.now())));
  beat();
  const workerData: ProbeStart = { host, port, heartbeat: buffer, unhealthyAfterMs: options.unhealthyAfterMs ?? 30_000 };
  const worker = new Worker(new URL('./probe-worker.ts', import.meta.url), { workerData, name: 'probe', execArgv: [] });
  const boundPort = await listening(worker, host, port);
  worker.on('error', (error) => telemetry.log.error('probe thread failed', { error }));
  worker.unref();
  const tell = (message: ToProbe) => worker.postMessage(message);

  let lastTold: true | string | undefined;
  const readiness = telemetry.gauge('switchyard_service_ready');
  function update(): void {
    const ready = options.ready();
    if (ready === lastTold) return;
    lastTold = ready;
    readiness.set(ready === true ? 1 : 0, { service: options.service });
    tell({ type: 'state', ready });
  }

  const delay = monitorEventLoopDelay({ resolution: delayResolutionMs });
  delay.enable();
  const delayGauge = telemetry.gauge('switchyard_event_loop_delay_seconds');
  async function postMetrics(number: number): Promise<void> {
    // What is measured is the time from one look to the next.
    delayGauge.set(Math.max(0, delay.max / 1e9 - delayResolutionMs / 1e3));
    delay.reset();
    tell({ type: 'metrics', number, text: await telemetry.metricsText(), atMs: clock.now() });
  }
  const post = (number: number) => void postMetrics(number).catch((error: unknown) => telemetry.log.error('metrics cannot be rendered', { error }));
  worker.on('message', (message: FromProbe) => {
    if (message.type === 'scrape') post(message.number);
  });

  const stopBeating = every(clock, beatEveryMs, () => {
    beat();
    update();
  });
  beat();
  update();
  post(0);

  return {
    address: `http://${bracketed(advertised(host))}:${boundPort}`,
    update,
    async close() {
      stopBeating();
      delay.disable();
      const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
      worker.ref();
      tell({ type: 'close' });
      await gone;
    },
  };
}

function listening(worker: Worker, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', (message: FromProbe) => {
      worker.off('error', reject);
      if (message.type === 'listening') {
        resolve(message.port);
        return;
      }
      void worker.terminate();
      const said = message.type === 'failed' ? message : { code: '', message: 'the probe thread did not say where it listens' };
      reject(listenFailure(Object.assign(new Error(said.message), { code: said.code }), host, port));
    });
  });
}
