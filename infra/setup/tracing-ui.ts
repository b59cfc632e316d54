// The tracing UI of `npm start`, which is optional: Jaeger where it can be had, otherwise Zipkin on Java, otherwise none.
// Both show traces, and take spans, to and from whoever reaches them: they stay on this machine.
import { type ProvideOptions, ProvisionError, provide } from './provide.ts';
import { loopbackOf } from './servers.ts';
import type { StartSettings } from './settings.ts';

/** Where Jaeger 2 listens without a configuration file. */
const jaegerPorts = { ui: 16_686, otlpHttp: 4318, otlpGrpc: 4317 } as const;

export interface TracingUi {
  readonly name: 'jaeger' | 'zipkin';
  readonly version: string;
  readonly from: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** All must be free. */
  readonly ports: readonly number[];
  readonly uiPort: number;
  readonly url: string;
  /** For the services: where spans go. */
  readonly exporter: Readonly<Record<string, string>>;
}

export type TracingChoice =
  /** The environment says where spans go. */
  { readonly kind: 'given' } | { readonly kind: 'ui'; readonly ui: TracingUi } | { readonly kind: 'none'; readonly because: string };

/** What is here is preferred to what must be fetched, so that a start without network is quick. Never throws. */
export async function chooseTracing(settings: StartSettings, options: ProvideOptions): Promise<TracingChoice> {
  const { env } = settings;
  if (!settings.tracing || env.OTEL_TRACES_EXPORTER === 'none') return { kind: 'none', because: 'switched off' };
  if (env.OTEL_TRACES_EXPORTER || env.OTEL_EXPORTER_OTLP_ENDPOINT || env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) return { kind: 'given' };
  const attempts = [
    { name: 'jaeger', onlyFound: true },
    { name: 'zipkin', onlyFound: true },
    { name: 'jaeger', onlyFound: false },
    { name: 'zipkin', onlyFound: false },
  ] as const;
  for (const { name, onlyFound } of attempts) {
    try {
      const provided = await provide(name, { ...options, onlyFound, optional: true });
      const ui = name === 'jaeger' ? jaeger(settings, provided.path) : zipkin(settings, provided.path);
      return { kind: 'ui', ui: { ...ui, version: provided.version, from: provided.from } };
    } catch (error) {
      if (!(error instanceof ProvisionError)) throw error;
    }
  }
  return { kind: 'none', because: 'neither Jaeger nor Zipkin could be had; `npx switchyard trace <request>` does without' };
}

type Runnable = Omit<TracingUi, 'version' | 'from'>;

export function jaeger(settings: StartSettings, path: string): Runnable {
  const host = loopbackOf(settings.host);
  return {
    name: 'jaeger',
    command: path,
    args: [],
    env: { JAEGER_LISTEN_HOST: host },
    ports: Object.values(jaegerPorts),
    uiPort: jaegerPorts.ui,
    url: `http://${host}:${jaegerPorts.ui}`,
    exporter: { OTEL_TRACES_EXPORTER: 'otlp', OTEL_EXPORTER_OTLP_ENDPOINT: `http://${host}:${jaegerPorts.otlpHttp}` },
  };
}

export function zipkin(settings: StartSettings, path: string): Runnable {
  const host = loopbackOf(settings.host);
  const { port } = settings.ports.tracingUi;
  const listen = ['ip', 'port', 'protocols[0]'].map((key, index) => `--armeria.ports[0].${key}=${[host, port, 'http'][index]}`);
  return {
    name: 'zipkin',
    command: 'java',
    // The newest spans in memory; the oldest make room.
    args: ['-Xmx192m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-jar', path, ...listen],
    env: { STORAGE_TYPE: 'mem', MEM_MAX_SPANS: '200000', COLLECTOR_HTTP_ENABLED: 'true', SELF_TRACING_ENABLED: 'false' },
    ports: [port],
    uiPort: port,
    url: `http://${host}:${port}/zipkin`,
    exporter: { OTEL_TRACES_EXPORTER: 'zipkin', OTEL_EXPORTER_ZIPKIN_ENDPOINT: `http://${host}:${port}/api/v2/spans` },
  };
}
