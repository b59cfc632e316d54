// Calls to HTTP servers elsewhere, on undici's dispatch: no Request, Response or stream objects between the socket and the
// listener. One connection carries one call at a time, so that ending the call ends its connection: an engine notices that and
// stops working.
import { Agent, type Dispatcher } from 'undici';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { HttpCall, RunningCall } from '../ports/http.ts';

const connectWithinMs = 2_000;
/** Shorter than the five seconds after which uvicorn closes an idle connection: a request must not meet that close. */
const idleMs = 3_000;

export function createNodeClient(): (call: HttpCall) => RunningCall {
  let agent: Agent | undefined;
  return (call) => {
    // Made when needed: most processes call nobody.
    agent ??= new Agent({
      connections: null,
      pipelining: 1,
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: idleMs,
      keepAliveMaxTimeout: idleMs,
      connect: { timeout: connectWithinMs },
    });
    return start(agent, call);
  };
}

class Aborted extends Error {}

function start(agent: Agent, call: HttpCall): RunningCall {
  const { origin, pathname, search } = new URL(call.url);
  let controller: Dispatcher.DispatchController | undefined;
  let aborted = false;
  let paused = false;

  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(given) {
      controller = given;
      if (aborted) given.abort(new Aborted());
    },
    onResponseStart(_controller, status, headers) {
      if (aborted) return;
      call.onHead(status, plain(headers));
      if (paused) controller?.pause();
    },
    onResponseData(_controller, bytes) {
      if (!aborted) call.onData(bytes);
    },
    onResponseEnd() {
      if (!aborted) call.onEnd();
    },
    onResponseError(_controller, thrown) {
      if (!aborted) call.onFailed(new SwitchyardError('unreachable', `${origin}: ${reasonOf(thrown)}`, { cause: thrown }));
    },
  };

  // Later, so that nothing is told before the caller has what it needs to hear it.
  queueMicrotask(() => {
    if (aborted) return;
    try {
      agent.dispatch({ origin, path: pathname + search, method: call.method, headers: { ...call.headers }, body: call.body ?? null }, handler);
    } catch (thrown) {
      handler.onResponseError?.(controller!, thrown as Error);
    }
  });

  return {
    pause() {
      paused = true;
      controller?.pause();
    },
    resume() {
      paused = false;
      controller?.resume();
    },
    abort() {
      aborted = true;
      controller?.abort(new Aborted());
    },
  };
}

function plain(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value]));
}

function reasonOf(thrown: Error & { code?: string }): string {
  if (thrown.code === 'ECONNREFUSED') return 'nobody listens there';
  if (thrown.code === 'ENOTFOUND' || thrown.code === 'EAI_AGAIN') return 'the host is not known';
  if (thrown.code === 'UND_ERR_CONNECT_TIMEOUT') return `no connection within ${connectWithinMs} ms`;
  if (thrown.code === 'ECONNRESET' || thrown.code === 'UND_ERR_SOCKET') return 'the connection broke before the answer was whole';
  return thrown.message || thrown.code || 'the call failed';
}
