// The receiving end of KV transfers between agents: checks who sends, checks every piece, and says what is still missing
// when the sender believes that it is done. What the blocks are for is the engine's business.
import { refusal, SwitchyardError, toRefusal } from '../../core/errors/switchyard-error.ts';
import { type KvCommit, KvFrame, type KvHello, type KvPiece, type KvTail, type Refusal } from '../../proto/gen/messages.ts';
import type { Cancel, Clock } from '../ports/clock.ts';
import type { StageTarget } from '../ports/engines.ts';
import type { Connection, Listener, Net } from '../ports/net.ts';
import type { Span, Telemetry } from '../ports/telemetry.ts';
import { commitCrc, pieceKey, pieceTag, tailCrc } from './kv-checks.ts';

export interface KvReceiverOptions {
  readonly net: Net;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly host: string;
  readonly port: number;
  /** Reservation ids are unique over all instances of an agent. */
  readonly find: (reservationId: string, transferToken: string) => { target: StageTarget; instanceId: string } | Refusal;
}

/** Largest frame: a piece is far smaller, the state of a long prompt may not be. */
export const maxKvFrameBytes = 64 * 1024 * 1024;
/** A commit may overtake pieces on other connections: it waits this long for them. */
const commitGraceMs = 300;
/** A connection that does not say what it is for, or was refused, is closed after this. */
const helloWithinMs = 5000;
/** Connections at once; further ones are closed. */
const maxConnections = 1024;

type Outcome = { readonly missing: readonly number[] } | Refusal;

/** One stage of one reservation, over all its connections. */
interface Session {
  readonly target: StageTarget;
  readonly connections: Set<Connection>;
  readonly span: Span;
  readonly key: Uint8Array;
  pending: { commit: KvCommit; connection: Connection; cancel: Cancel } | undefined;
  corrupt: boolean;
  failed: Refusal | undefined;
  bytes: number;
}

/** @throws SwitchyardError `port_taken` */
export async function receiveKv(options: KvReceiverOptions): Promise<Listener> {
  const { clock, telemetry } = options;
  const sessions = new Map<string, Session>();
  const bytesReceived = telemetry.counter('switchyard_kv_bytes_total');
  const checksFailed = telemetry.counter('switchyard_kv_checks_failed_total');
  let connections = 0;

  function join(hello: KvHello, connection: Connection): Session | Refusal {
    const found = options.find(hello.reservationId, hello.transferToken);
    if ('code' in found) return found;
    const name = `${hello.reservationId}#${hello.stage}`;
    let session = sessions.get(name);
    if (!session) {
      const span = telemetry.start('kv.receive', {
        kind: 'server',
        parent: hello.traceparent ? { traceparent: hello.traceparent } : undefined,
        attributes: { 'switchyard.reservation.id': hello.reservationId, 'switchyard.stage': hello.stage, 'switchyard.instance.id': found.instanceId },
      });
      const key = pieceKey(hello.reservationId, hello.transferToken);
      session = { target: found.target, connections: new Set(), span, key, pending: undefined, corrupt: false, failed: undefined, bytes: 0 };
      sessions.set(name, session);
    }
    session.connections.add(connection);
    const joined = session;
    connection.onClose(() => {
      joined.connections.delete(connection);
      // Nothing more comes on this one: what a commit waits for may have been lost with it.
      if (joined.pending) answer(joined);
      if (joined.connections.size > 0 || sessions.get(name) !== joined) return;
      sessions.delete(name);
      joined.span.set({ 'switchyard.bytes': joined.bytes });
      joined.span.end();
    });
    return session;
  }

  function take(session: Session, piece: KvPiece): void {
    session.bytes += piece.payload.length;
    bytesReceived.add(piece.payload.length, { direction: 'in' });
    if (Buffer.compare(pieceTag(session.key, piece), piece.tag) !== 0) {
      session.corrupt = true;
      checksFailed.add(1);
      telemetry.log.warn('KV piece refused, its code is wrong', { block: piece.block, offset: piece.offset });
    } else session.failed ??= session.target.write(piece);
    if (session.pending) consider(session);
  }

  function followed({ target }: Session, tail: KvTail): void {
    if (tailCrc(tail) === tail.crc) target.follow?.(tail.firstIndex, tail.tokenIds);
    else checksFailed.add(1);
  }

  /** What a stage comes to. A state that cannot be read, from a sender of another version, is refused like anything else. */
  async function committed({ target }: Session, { versions, last, state }: KvCommit): Promise<Outcome> {
    try {
      return await target.commit(versions, last, state);
    } catch (thrown) {
      return thrown instanceof SwitchyardError ? toRefusal(thrown) : refusal('corrupt_kv', `the state cannot be read: ${String(thrown)}`);
    }
  }

  /** Answers a waiting commit as soon as it is complete or cannot become so. */
  function consider(session: Session): void {
    if (session.corrupt || session.failed || session.connections.size <= 1) {
      answer(session);
      return;
    }
    decide(session, (outcome) => 'code' in outcome || outcome.missing.length === 0);
  }

  function answer(session: Session): void {
    if (session.failed) reply(session, session.failed);
    else decide(session, () => true);
  }

  /** The engine may take its time to put a stage in place: what is decided then is about that commit only. */
  function decide(session: Session, isFinal: (outcome: Outcome) => boolean): void {
    const pending = session.pending!;
    void committed(session, pending.commit).then((outcome) => {
      if (session.pending === pending && isFinal(outcome)) reply(session, outcome);
    });
  }

  function reply(session: Session, outcome: Outcome): void {
    const { connection, cancel, commit } = session.pending!;
    cancel();
    session.pending = undefined;
    const failed =
      'code' in outcome ? outcome : session.corrupt && outcome.missing.length > 0 ? refusal('corrupt_kv', 'pieces arrived damaged') : null;
    session.corrupt = false;
    session.failed = undefined;
    if (failed) session.span.event('refused', { 'switchyard.code': failed.code });
    else session.span.event('committed', { 'switchyard.blocks': commit.versions.length });
    connection.send(KvFrame.encode({ result: { refusal: failed, missing: 'missing' in outcome ? outcome.missing : [] } }));
  }

  function accept(connection: Connection): void {
    if (connections >= maxConnections) {
      connection.close();
      return;
    }
    connections++;
    let session: Session | undefined;
    const cancelHello = clock.after(helloWithinMs, () => connection.close());
    connection.onClose(() => {
      connections--;
      cancelHello();
    });
    connection.onFrame((bytes) => {
      let frame: KvFrame;
      try {
        frame = KvFrame.decode(bytes);
      } catch {
        connection.close();
        return;
      }
      if (!session) {
        const joined = frame.hello ? join(frame.hello, connection) : refusal('invalid_request', 'a KV connection begins with hello');
        if ('code' in joined) {
          connection.send(KvFrame.encode({ have: { blocks: [], versions: [], refusal: joined } }));
          return;
        }
        session = joined;
        cancelHello();
        const have = joined.target.have();
        connection.send(KvFrame.encode({ have: { blocks: have.map(({ block }) => block), versions: have.map(({ version }) => version) } }));
      } else if (frame.piece) take(session, frame.piece);
      else if (frame.tail) followed(session, frame.tail);
      else if (frame.commit && commitCrc(frame.commit) !== frame.commit.crc) {
        checksFailed.add(1);
        telemetry.log.warn('KV commit refused, its checksum is wrong', { stage: frame.commit.stage });
        connection.send(KvFrame.encode({ result: { refusal: refusal('corrupt_kv', 'the commit arrived damaged'), missing: [] } }));
      } else if (frame.commit) {
        // It may have to wait, and the frame's bytes are not ours for so long.
        const commit = { ...frame.commit, state: new Uint8Array(frame.commit.state) };
        session.pending?.cancel();
        const waiting = session;
        session.pending = { commit, connection, cancel: clock.after(commitGraceMs, () => answer(waiting)) };
        consider(session);
      }
    });
  }

  return options.net.listen('kv', { host: options.host, port: options.port, maxFrameBytes: maxKvFrameBytes }, accept);
}
