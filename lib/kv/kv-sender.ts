// The sending end of a KV transfer: one stage over parallel connections, split so that all carry the same load
// (core/migration/transfer-plan.ts). What a dying connection owed is planned again over the others; what the receiver
// misses at the end is sent again.
import { isCode } from '../../core/errors/codes.ts';
import { refusal, toRefusal } from '../../core/errors/switchyard-error.ts';
import { type PlannedPiece, planTransfer, replanTransfer } from '../../core/migration/transfer-plan.ts';
import { KvFrame, type KvHave, type KvResult, type Refusal } from '../../proto/gen/messages.ts';
import type { Clock } from '../ports/clock.ts';
import type { StageSource } from '../ports/engines.ts';
import type { Connection, Net } from '../ports/net.ts';
import { commitCrc, pieceCrc } from './kv-checks.ts';
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
const maxPieceBytes = 256 * 1024;
/** A connection holds back when this much has not left yet. */
const maxBufferedBytes = 512 * 1024;
const maxConnections = 16;
/** Times that missing blocks are sent again before the stage fails. */
const maxRounds = 3;

/** Sends a stage. Refused: `transfer_failed`, `corrupt_kv`, what the receiver refuses, what ends the sequence meanwhile. */
export async function sendStage(options: SendStageOptions): Promise<SendReport | Refusal> {
  const { source } = options;
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
    if (refused) return told(refused);
    const have = answers.find((answer) => answer !== undefined);
    if (!have) return refusal('transfer_failed', `no connection to ${options.address}`);

    const versionThere = new Map(have.blocks.map((block, i) => [block, have.versions[i] ?? 0]));
    let blocks = source.blocks.filter(({ block, version }) => (versionThere.get(block) ?? 0) < version).map(({ block }) => block);
    report.connectionsLost = wanted - lanes.length;
    for (let round = 0; ; round++) {
      await sendBlocks(blocks, lanes, options, report);
      const result = await commit(options, lanes);
      if (!result) return refusal('transfer_failed', `every connection to ${options.address} was lost in stage ${options.stage}`);
      // The commit itself may have been damaged: then nothing is missing, and it is sent again.
      const again = result.missing.length > 0 || result.refusal?.code === 'corrupt_kv';
      if (!again) return result.refusal ? told(result.refusal) : report;
      if (round === maxRounds)
        return result.refusal ? told(result.refusal) : refusal('transfer_failed', `${result.missing.length} blocks did not arrive`);
      blocks = [...result.missing];
    }
  } catch (thrown) {
    return toRefusal(thrown);
  } finally {
    cancelTimeout();
    for (const lane of lanes) lane.connection.close();
  }
}

/** What the receiver refuses, with a code of ours: codes end up in metrics and answers. */
function told(refused: Refusal): Refusal {
  return isCode(refused.code) ? refused : refusal('transfer_failed', `the receiver refuses: ${refused.message}`);
}

interface Lane {
  readonly connection: Connection;
  alive: boolean;
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
  const lane: Lane = { connection, alive: true, have: new Promise((resolve) => (gotHave = resolve)), result: () => {} };
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

/** Sends blocks over the lanes that live, and what dying lanes owed over the rest, until all is out or no lane is left. */
async function sendBlocks(
  blocks: readonly number[],
  lanes: readonly Lane[],
  options: SendStageOptions,
  report: { blocksSent: number; bytesSent: number; connectionsLost: number },
): Promise<void> {
  let alive = lanes.filter((lane) => lane.alive);
  let pieces = planTransfer(
    blocks,
    options.source.blockBytes,
    alive.map(() => 1),
  );
  report.blocksSent += blocks.length;
  while (pieces.length > 0 && alive.length > 0) {
    const assigned = alive.map((_, index) => pieces.filter((piece) => piece.connection === index));
    await Promise.all(alive.map((lane, index) => pump(lane, assigned[index]!, options, report)));
    // What was handed to a lost connection may have been lost with it: all of it counts as undelivered.
    const owed: PlannedPiece[] = alive.flatMap((lane, index) => (lane.alive ? [] : assigned[index]!));
    const survivors = alive.filter((lane) => lane.alive);
    report.connectionsLost += alive.length - survivors.length;
    alive = survivors;
    pieces = replanTransfer(
      owed,
      alive.map(() => 1),
    );
  }
}

async function pump(lane: Lane, pieces: readonly PlannedPiece[], options: SendStageOptions, report: { bytesSent: number }): Promise<void> {
  const { source, turns, last } = options;
  for (const piece of pieces) {
    for (let done = 0; done < piece.bytes && lane.alive; done += maxPieceBytes) {
      const offset = piece.offset + done;
      await turns.work(() => {
        const payload = source.read(piece.block, offset, Math.min(maxPieceBytes, piece.bytes - done));
        const version = source.versions[piece.block]!;
        const sent = { block: piece.block, offset, blockBytes: source.blockBytes, version, payload };
        lane.connection.send(KvFrame.encode({ piece: { ...sent, crc: pieceCrc(sent) } }));
        report.bytesSent += payload.length;
      }, last);
      await lane.connection.drained(maxBufferedBytes);
    }
  }
}

/** Asks the receiver what is missing, over the first lane that answers. Undefined: none does. */
async function commit(options: SendStageOptions, lanes: readonly Lane[]): Promise<KvResult | undefined> {
  const { source, stage, last } = options;
  const sent = { stage, blocks: source.versions.length, last, state: source.state, versions: source.versions };
  const frame = KvFrame.encode({ commit: { ...sent, crc: commitCrc(sent) } });
  for (const lane of lanes) {
    if (!lane.alive) continue;
    const answered = new Promise<KvResult | undefined>((resolve) => {
      lane.result = resolve;
    });
    lane.connection.send(frame);
    const result = await answered;
    if (result) return result;
  }
  return undefined;
}
