// The connection to Temporal's server: made when first needed, and looked at regularly, so that `connected()` can
// answer without asking. The gRPC channel reconnects by itself.
import type { Client, WorkflowClientInterceptor } from '@temporalio/client';
import type { Headers } from '@temporalio/common';
import type { TlsMaterial } from '../net/tls.ts';
import type { Telemetry } from '../ports/telemetry.ts';

export interface TemporalConnection {
  /** Runs calls to the server, which together may take `timeoutMs`. @throws what the client throws */
  call<T>(timeoutMs: number, run: (client: Client) => Promise<T>): Promise<T>;
  connected(): boolean;
  readonly closed: boolean;
  /** Aborts what is under way. */
  close(): Promise<void>;
}

export interface TemporalAddress {
  /** host:port */
  readonly address: string;
  readonly namespace: string;
  readonly apiKey?: string | undefined;
  /** Absent: without TLS. */
  readonly tls?: (TlsMaterial & { readonly serverName?: string | undefined }) | undefined;
}

/** As the client and the worker take it. */
export function securityOf({ apiKey, tls }: Pick<TemporalAddress, 'apiKey' | 'tls'>) {
  if (!tls) return {};
  const bytes = (text: string) => new TextEncoder().encode(text);
  const pair = tls.cert && tls.key ? { clientCertPair: { crt: bytes(tls.cert), key: bytes(tls.key) } } : {};
  const name = tls.serverName === undefined ? {} : { serverNameOverride: tls.serverName };
  return { tls: { ...(tls.ca && { serverRootCACertificate: bytes(tls.ca) }), ...pair, ...name }, ...(apiKey !== undefined && { apiKey }) };
}

/** How often the server is asked whether it is there. */
const lookEveryMs = 2_000;
const lookTimeoutMs = 1_500;
/** A call that fails because the server is away is tried this often, with these pauses in between. */
const attempts = 4;
const longestRetryMs = 500;
/** gRPC's pause before it connects again grows to two minutes unless told otherwise; calls fail until it is over. */
const reconnect = { 'grpc.initial_reconnect_backoff_ms': 100, 'grpc.max_reconnect_backoff_ms': 500 };

export function lazyConnection(server: TemporalAddress, telemetry: Telemetry): TemporalConnection {
  let made: Promise<Client> | undefined;
  let up = false;
  let timer: NodeJS.Timeout | undefined;
  const closing = new AbortController();
  const underWay = new Set<Promise<unknown>>();

  function seen(answered: boolean): void {
    if (answered === up) return;
    up = answered;
    telemetry.log[up ? 'info' : 'warn'](up ? 'Temporal answers' : 'Temporal does not answer', { address: server.address });
  }

  async function make(): Promise<Client> {
    // Loaded here: most services never talk to Temporal, and loading takes a tenth of a second.
    const [temporal, { traceHeaders }] = await Promise.all([import('@temporalio/client'), import('./sandbox/trace-header.ts')]);
    const retry = temporal.makeGrpcRetryInterceptor({
      delayFunction: (attempt) => Math.min(longestRetryMs, 50 * 2 ** attempt),
      // The client would throw past everybody when it tried again on a closed connection.
      retryableDecider: (attempt, status) => !closing.signal.aborted && attempt < attempts && temporal.isRetryableError(status),
    });
    const connection = temporal.Connection.lazy({ address: server.address, ...securityOf(server), channelArgs: reconnect, interceptors: [retry] });
    const interceptors = { workflow: [carryTrace(() => traceHeaders(telemetry.active()?.traceparent))] };
    const client = new temporal.Client({ connection, namespace: server.namespace, interceptors });
    void look();
    return client;
  }

  const client = () => {
    made ??= make();
    return made;
  };

  async function call<T>(timeoutMs: number, run: (client: Client) => Promise<T>): Promise<T> {
    const it = await client();
    if (closing.signal.aborted) throw new Error('the connection to Temporal has been closed');
    const { connection } = it;
    const work = connection.withDeadline(Date.now() + timeoutMs, () => connection.withAbortSignal(closing.signal, () => run(it)));
    underWay.add(work);
    try {
      return await work;
    } finally {
      underWay.delete(work);
    }
  }

  async function look(): Promise<void> {
    try {
      await call(lookTimeoutMs, ({ connection }) => connection.workflowService.getSystemInfo({}));
      seen(true);
    } catch {
      if (!closing.signal.aborted) seen(false);
    }
    if (!closing.signal.aborted) timer = setTimeout(() => void look(), lookEveryMs).unref();
  }

  return {
    async call(timeoutMs, run) {
      const answer = await call(timeoutMs, run);
      seen(true);
      return answer;
    },
    connected() {
      client().catch((thrown: unknown) => telemetry.log.error('no Temporal client', { error: String(thrown) }));
      return up;
    },
    get closed() {
      return closing.signal.aborted;
    },
    async close() {
      closing.abort();
      clearTimeout(timer);
      if (!made) return;
      const settled = Promise.allSettled([...underWay]);
      // Long enough for a retry that was waiting to be made, and to fail.
      const patience = new Promise((resolve) => setTimeout(resolve, 2 * longestRetryMs).unref());
      await Promise.race([settled, patience]);
      await (await made).connection.close();
    },
  };
}

/** Workflows hang in the trace of whoever starts them. */
function carryTrace(headers: () => Headers): WorkflowClientInterceptor {
  const withTrace = <I extends { readonly headers: Headers }>(input: I): I => ({ ...input, headers: { ...input.headers, ...headers() } });
  return {
    start: (input, next) => next(withTrace(input)),
    startWithDetails: (input, next) => next(withTrace(input)),
  };
}
