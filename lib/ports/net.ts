// Framed connections of the data plane: the token link (WebSocket, one frame per engine step) and KV transfer (TCP,
// length-prefixed). Twin: in memory. All pass test/conformance/net.

export interface Connection {
  readonly remote: string;
  /**
   * Frames arrive whole and in order. Dropped silently after close. The bytes must not change after the call. With a `tail`
   * the frame is both, one after the other: a large part of it need not be copied.
   */
  send(frame: Uint8Array, tail?: Uint8Array): void;
  /** Bytes accepted by `send` that have not left yet. */
  buffered(): number;
  /** Resolves when `buffered()` has fallen below `bytes`, or on close. */
  drained(bytes: number): Promise<void>;
  /**
   * Set once, right after the connection is made: frames that came earlier are held until then. A frame of a KV connection is
   * the handler's for as long as it runs; what it keeps of it, it copies.
   */
  onFrame(handler: (frame: Uint8Array) => void): void;
  /** Called once, also when the connection is closed already. */
  onClose(handler: (why: string) => void): void;
  /** Frames sent before still leave; both sides hear of it. */
  close(): void;
}

export interface Listener {
  /** What others connect to, for example ws://127.0.0.1:41873 */
  readonly address: string;
  close(): Promise<void>;
}

export type LinkKind = 'link' | 'kv';

export interface ConnectOptions {
  readonly timeoutMs: number;
  readonly maxFrameBytes: number;
  /** Of a token link: the instance that is to prove itself. Absent: whoever answers proves that it is of the fleet. */
  readonly instanceId?: string;
}

export interface Net {
  /** `port` 0 takes a free one. @throws SwitchyardError `port_taken` */
  listen(
    kind: LinkKind,
    options: { host: string; port: number; maxFrameBytes: number },
    onConnection: (connection: Connection) => void,
  ): Promise<Listener>;
  /** @throws SwitchyardError `unreachable` after `timeoutMs` at the latest */
  connect(address: string, options: ConnectOptions): Promise<Connection>;
}
