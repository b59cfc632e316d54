// HTTP as a port, so that the same service code runs without sockets: servers (gateway, operator API), and calls to servers
// that are not ours (engines).
import type { SwitchyardError } from '../../core/errors/switchyard-error.ts';

export interface HttpRequest {
  readonly method: string;
  /** Path without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Lower-case names; repeated headers joined by ", ". */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** The body's bytes as they came. @throws SwitchyardError `body_too_large` | `client_left` */
  body(maxBytes: number): Promise<Uint8Array>;
}

export interface HttpResponse {
  /** Headers may be sent once, and before the body. The object is kept: it does not change any more. */
  head(status: number, headers: Readonly<Record<string, string>>): void;
  /** Returns false while the client is slower than we are; `onDrain` says when to go on. */
  write(bytes: Uint8Array | string): boolean;
  end(bytes?: Uint8Array | string): void;
  onDrain(run: () => void): void;
  /** Called once when the client has left, or the server has cut the connection, before `end`. */
  onClientLeft(run: () => void): void;
  readonly headSent: boolean;
  /** Bytes accepted by `write` that the client has not taken. */
  buffered(): number;
}

/** Must not throw; a rejected promise becomes a 500 and is counted. */
export type HttpHandler = (request: HttpRequest, response: HttpResponse) => void | Promise<void>;

export interface HttpServer {
  /** For example http://127.0.0.1:8080 */
  readonly address: string;
  /** Stops accepting, lets running responses end within `withinMs`, then cuts them. */
  close(withinMs: number): Promise<void>;
}

/** Files in PEM. */
export interface HttpTls {
  readonly certFile: string;
  readonly keyFile: string;
  /** With it clients need a certificate of these authorities. */
  readonly caFile?: string | undefined;
}

export interface HttpListening {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly tls?: HttpTls | undefined;
  /** A path as metrics name it, `/v1/models/{id}` say: one of a few, or '' for a path that is not served. Absent: always ''. */
  readonly routeOf?: (path: string) => string;
}

/** A request to a server elsewhere, and who hears of its answer. */
export interface HttpCall {
  readonly method: 'GET' | 'POST';
  /** http or https, with the path. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | undefined;
  /** Once. Names are in lower case. */
  readonly onHead: (status: number, headers: Readonly<Record<string, string | undefined>>) => void;
  /** The body as it comes. The bytes are the listener's to keep. */
  readonly onData: (bytes: Uint8Array) => void;
  /** The body is whole. The last word, or `onFailed` is. */
  readonly onEnd: () => void;
  /** `unreachable`: no connection, or it broke before the body was whole. There is no limit of time: whoever calls sets one. */
  readonly onFailed: (why: SwitchyardError) => void;
}

export interface RunningCall {
  /** Nothing more is read until `resume`: what the server sends waits in its buffers. A little may still come. */
  pause(): void;
  resume(): void;
  /** The connection is destroyed, and nothing is told any more. */
  abort(): void;
}

export interface Http {
  /** Never throws, and tells nothing before it has returned. */
  call(call: HttpCall): RunningCall;
  /** @throws SwitchyardError `port_taken` | `invalid_config` (a file of `tls` cannot be read) */
  serve(options: HttpListening, handler: HttpHandler): Promise<HttpServer>;
}
