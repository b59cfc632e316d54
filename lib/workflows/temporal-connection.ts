// The connection to Temporal's server: made when first needed, and looked at regularly, so that `connected()` can
// answer without asking. The gRPC channel reconnects by itself.
import type { Client, WorkflowClientInterceptor } from '@temporalio/client';
import type { Headers } from '@temporalio/common';
import type { Telemetry } from '../ports/telemetry.ts';

export interface TemporalConnection {
  client(): Promise<Client>;
  connected(): boolean;
  /** A call went through, or did not: known sooner than by looking. */
  seen(answered: boolean): void;
  close(): Promise<void>;
}

export interface TemporalAddress {
  /** host:port */
  readonly address: string;
  readonly namespace: string;
}

/** How often the server is asked whether it is there. */
const lookEveryMs = 2_000;
const lookTimeoutMs = 1_500;

export function lazyConnection(server: TemporalAddress, telemetry: Telemetry): TemporalConnection {
  let made: Promise<Client> | undefined;
  let up = false;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;

  function seen(answered: boolean): void {
    if (answered === up) return;
    up = answered;
    telemetry.log[up ? 'info' : 'warn'](up ? 'Temporal answers' : 'Temporal does not answer', { address: server.address });
  }

  async function look(client: Client): Promise<void> {
    try {
      await client.connection.withDeadline(Date.now() + lookTimeoutMs, () => client.connection.workflowService.getSystemInfo({}));
      seen(true);
    } catch {
      seen(false);
    }
    if (!closed) timer = setTimeout(() => void look(client), lookEveryMs).unref();
  }

  async function make(): Promise<Client> {
    // Loaded here: most services never talk to Temporal, and loading takes a tenth of a second.
    const [{ Client: TemporalClient, Connection }, { traceHeaders }] = await Promise.all([
      import('@temporalio/client'),
      import('./sandbox/trace-header.ts'),
    ]);
    const connection = Connection.lazy({ address: server.address });
    const client = new TemporalClient({
      connection,
      namespace: server.namespace,
      interceptors: { workflow: [carryTrace(() => traceHeaders(telemetry.active()?.traceparent))] },
    });
    void look(client);
    return client;
  }

  const client = () => {
    made ??= make();
    return made;
  };

  return {
    client,
    connected() {
      client().catch((thrown: unknown) => telemetry.log.error('no Temporal client', { error: String(thrown) }));
      return up;
    },
    seen,
    async close() {
      closed = true;
      clearTimeout(timer);
      if (made) await (await made).connection.close();
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
