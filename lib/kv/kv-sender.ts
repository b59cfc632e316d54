// The sending end of a KV transfer: one stage over parallel connections, split so that all carry the same load
// (core/migration/transfer-plan.ts). What a dying connection owed is planned again over the others; what the receiver
// misses at the end is sent again.
import { refusal, toRefusal } from '../../core/errors/switchyard-error.ts';
import { type Flow, planTransfer, takePiece } from '../../core/migration/transfer-plan.ts';
import { KvFrame, type KvHave, KvPiece, type KvResult, type Refusal } from '../../proto/gen/messages.ts';
import { type TailFrame, tailFrame } from '../net/tail-frame.ts';
import type { Cancel, Clock } from '../ports/clock.ts';
import type { StageSource } from '../ports/engines.ts';
import type { Connection, Net } from '../ports/net.ts';
import { pieceKey, pieceTag } from './kv-checks.ts';
import { commitFrame, toldRefusal } from './kv-commit.ts';
import { maxKvFrameBytes } from './kv-receiver.ts';
import type { Turns } from './turns.ts';

export interface SendStageOptions {
  readonly net: Net;
  readonly clock: Clock;
  readonly source: StageSource;
  readonly turns: Turns;
  readonly address: string;
  readonly reservationId: string;
  readonly transferToken: string;
  readonly stage: number;
  readonly last: boolean;
  /** Parallel connections wanted; 1 to 16, never more than there are blocks. */
  readonly connections: number;
  readonly timeoutMs: number;
  readonly traceparent: string;
}

export interface SendReport {
  readonly blocksSent: number;
  readonly bytesSent: number;
  readonly connectionsLost: number;
}

/** Larger pieces go out in frames of this size, so that cancelling a sequence is noticed soon. */
const pieceSizes = { most: 256 * 1024, leastTakenOver: 32 * 1024 };
/** A connection holds back when this much has not left yet. */
const maxBufferedBytes = 512 * 1024;
const maxConnections = 16;
/** A commit may be behind much that was sent before it: it is sent over the next connection too after this. */
const askNextAfterMs = 500;
/** Times that missing blocks are sent again before the stage fails. */
const maxRounds = 3;

/** Sends a stage. Refused: `transfer_failed`, `corrupt_kv`, what the receiver refuses, what ends the sequence meanwhile. */
export async function sendStage(options: SendStageOptions): Promise<SendReport | Refusal> {
  const { source } = options;
  const key = pieceKey(options.reservationId, options.transferToken);
  const wanted = Math.max(1, Math.min(options.connections, maxConnections, source.blocks.length));
  let lanes: Lane[] = [];
  const cancelTimeout = options.clock.after(options.timeoutMs, () => {
    for (const lane of lanes) lane.connection.close();
  });
  const report = { blocksSent: 0, bytesSent: 0, connectionsLost: 0 };
  try {
    const opened = await Promise.all(Array.from({ length: wanted }, (_, index) => openLane(options, index)));
    lanes = opened.filter((lane) => lane !== undefined);
    const answers = await Promise.all(lanes.map((lane) => lane.have));
    const refused = answers.find((have) => have?.refusal)?.refusal;
    if (refused) return toldRefusal(refused);
    const have = answers.find((answer) => answer !== undefined);
    if (!have) return refusal('transfer_failed', `no connection to ${options.address}`);

    const versionThere = new Map(have.blocks.map((block, i) => [block, have.versions[i] ?? 0]));
    let blocks = source.blocks.filter(({ block, version }) => (versionThere.get(block) ?? 0) < version).map(({ block }) => block);
    report.connectionsLost = wanted - lanes.length;
    let trusted: readonly Lane[] = lanes;
    for (let round = 0; ; round++) {
      await sendBlocks(blocks, trusted, { ...options, key }, report);
      const result = await commit(options, lanes);
      if (!result) return refusal('transfer_failed', `every connection to ${options.address} was lost in stage ${options.stage}`);
      // The commit itself may have been damaged: then nothing is missing, and it is sent again.
      const again = result.missing.length > 0 || result.refusal?.code === 'corrupt_kv';
      if (!again) return result.refusal ? toldRefusal(result.refusal) : report;
      if (round === maxRounds)
        return result.refusal ? toldRefusal(result.refusal) : refusal('transfer_failed', `${result.missing.length} blocks did not arrive`);
      blocks = [...result.missing];
      trusted = withoutLate(lanes, new Set(blocks));
    }
  } catch (thrown) {
    return toRefusal(thrown);
  } finally {
    cancelTimeout();
    for (const lane of lanes) lane.connection.close();
  }
}

interface Lane {
  readonly connection: Connection;
  alive: boolean;
  /** What it was given since the last commit. */
  sent: Flow[];
  /** Undefined: the connection was lost before. */
  readonly have: Promise<KvHave | undefined>;
  result: (result: KvResult | undefined) => void;
}

async function openLane(options: SendStageOptions, index: number): Promise<Lane | undefined> {
  let connection: Connection;
  try {
    connection = await options.net.connect(options.address, { timeoutMs: options.timeoutMs, maxFrameBytes: maxKvFrameBytes });
  } catch {
    return undefined;
  }
  let gotHave: (have: KvHave | undefined) => void = () => {};
  const lane: Lane = { connection, alive: true, sent: [], have: new Promise((resolve) => (gotHave = resolve)), result: () => {} };
  connection.onClose(() => {
    lane.alive = false;
    gotHave(undefined);
    lane.result(undefined);
  });
  connection.onFrame((bytes) => {
    let frame: KvFrame;
    try {
      frame = KvFrame.decode(bytes);
    } catch {
      connection.close();
      return;
    }
    if (frame.have) gotHave(frame.have);
    if (frame.result) lane.result(frame.result);
  });
  const { reservationId, transferToken, stage, traceparent } = options;
  connection.send(KvFrame.encode({ hello: { reservationId, transferToken, stage, connection: index, traceparent } }));
  return lane;
}

interface Sending extends SendStageOptions {
  readonly key: Uint8Array;
}

/**
 * Sends blocks over the lanes that live, until all is out or no lane is left. A lane that has nothing left to send takes over
 * half of what another has before it, so a slow one carries little. What was handed to a lane that is lost may have been lost
 * with it: all of it is sent again.
 */
async function sendBlocks(
  blocks: readonly number[],
  lanes: readonly Lane[],
  options: Sending,
  report: { blocksSent: number; bytesSent: number; connectionsLost: number },
): Promise<void> {
  report.blocksSent += blocks.length;
  let alive = lanes.filter((lane) => lane.alive);
  const plan = planTransfer(
    blocks,
    options.source.blockBytes,
    alive.map(() => 1),
  );
  let queues: Flow[][] = alive.map((_, index) => plan.filter((piece) => piece.connection === index));
  while (alive.length > 0 && isLeft(queues)) {
    for (const lane of alive) lane.sent = [];
    // A slow lane may take long to be rid of what it was given last; when nothing else is left nobody waits for that.
    await new Promise<void>((resolve, reject) => {
      Promise.all(alive.map((lane, index) => pump(lane, index, queues, options, report, resolve))).then(() => resolve(), reject);
    });
    const owed = alive.flatMap((lane) => (lane.alive ? [] : lane.sent)).concat(queues.flat());
    const survivors = alive.filter((lane) => lane.alive);
    report.connectionsLost += alive.length - survivors.length;
    alive = survivors;
    queues = [owed, ...alive.slice(1).map(() => [])];
  }
}

async function pump(
  lane: Lane,
  index: number,
  queues: Flow[][],
  options: Sending,
  report: { bytesSent: number },
  nothingLeft: () => void,
): Promise<void> {
  while (lane.alive) {
    const piece = takePiece(queues, index, pieceSizes);
    if (!piece) return;
    lane.sent.push(piece);
    await options.turns.work(() => {
      const { head, tail } = pieceFrame(piece, options);
      lane.connection.send(head, tail);
      report.bytesSent += tail.length;
    }, options.last);
    if (!isLeft(queues)) nothingLeft();
    await lane.connection.drained(maxBufferedBytes);
  }
}

function isLeft(queues: readonly Flow[][]): boolean {
  return queues.some((queue) => queue.length > 0);
}

/** Fields of KvFrame and KvPiece, as commands.proto numbers them. */
const pieceField = 3;
const payloadField = 5;
const noBytes = new Uint8Array(0);

/** The payload is the engine's own memory, not copied: should it be written before it has left, its code is wrong and it is sent again. */
function pieceFrame({ block, offset, bytes }: Flow, { source, key }: Sending): TailFrame {
  const payload = source.read(block, offset, bytes);
  const place = { block, offset, blockBytes: source.blockBytes, version: source.versions[block]! };
  const tag = pieceTag(key, { ...place, payload });
  return tailFrame(pieceField, KvPiece.encode({ ...place, tag, payload: noBytes }), payloadField, payload);
}

/** The lanes that have delivered everything; all, when every one owes something. A slow one holds megabytes in the kernel. */
function withoutLate(lanes: readonly Lane[], missing: ReadonlySet<number>): readonly Lane[] {
  const prompt = lanes.filter((lane) => lane.alive && !lane.sent.some(({ block }) => missing.has(block)));
  return prompt.length > 0 ? prompt : lanes;
}

/** Asks the receiver what is missing, over the fastest lane, and over the next while that is silent. Undefined: all are lost. */
function commit(options: SendStageOptions, lanes: readonly Lane[]): Promise<KvResult | undefined> {
  const { clock } = options;
  const frame = commitFrame(options);
  const fastestFirst = [...lanes].sort((a, b) => a.connection.buffered() - b.connection.buffered() || bytesOf(b) - bytesOf(a));
  return new Promise((resolve) => {
    const asked = new Set<Lane>();
    let cancel: Cancel = () => {};

    function end(result: KvResult | undefined): void {
      cancel();
      for (const lane of asked) lane.result = () => {};
      resolve(result);
    }

    function askNext(): void {
      cancel();
      const lane = fastestFirst.find((each) => each.alive && !asked.has(each));
      if (lane) {
        asked.add(lane);
        lane.result = (result) => (result ? end(result) : askNext());
        cancel = clock.after(askNextAfterMs, askNext);
        lane.connection.send(frame);
      } else if (![...asked].some(({ alive }) => alive)) end(undefined);
    }

    askNext();
  });
}

function bytesOf({ sent }: Lane): number {
  return sent.reduce((sum, { bytes }) => sum + bytes, 0);
}
