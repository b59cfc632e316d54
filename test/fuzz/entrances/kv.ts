// KV transfers, from both sides: a sender whose hellos, pieces, commits and states make no sense, with checksums that are
// right; and a receiver that answers nonsense to a stage that is being sent. Reservations are taken over and dropped.

import * as contracts from '../../../lib/contracts.ts';
import { askFleet } from '../../../lib/fleet/ask-fleet.ts';
import { commitCrc, pieceKey, pieceTag } from '../../../lib/kv/kv-checks.ts';
import type { Connection } from '../../../lib/ports/net.ts';
import { KvFrame, LinkFrame, SequenceState } from '../../../proto/gen/messages.ts';
import type { Chooser } from '../chooser.ts';
import { count, type Entrance } from '../entrance.ts';
import { startFuzzedFleet } from '../fuzzed-fleet.ts';
import { mutateProtobuf } from '../mutate-protobuf.ts';

const framesPerConnection = 30;
/** Whose blocks are written. */
const instanceId = 'chat-2';

/** Checksums fit again: the receiver must not rely on them against a sender that means it. */
function withRightSums(bytes: Uint8Array, key: Uint8Array): Uint8Array {
  let frame: KvFrame;
  try {
    frame = KvFrame.decode(bytes);
  } catch {
    return bytes;
  }
  if (frame.piece) return KvFrame.encode({ piece: { ...frame.piece, tag: pieceTag(key, frame.piece) } });
  if (frame.commit) return KvFrame.encode({ commit: { ...frame.commit, crc: commitCrc(frame.commit) } });
  return bytes;
}

export const kvReceiverEntrance: Entrance = {
  name: 'KV transfer, receiving side',
  weight: 15,
  shortInputs: 1_000,
  batch: 1000,
  async open(seed, findings) {
    const fleet = await startFuzzedFleet(seed, findings);
    const outcomes = new Map<string, number>();
    const { bus, net } = fleet.stranger;
    const frames = fleet.traffic.of('kv/to-target');
    const lastCommits = fleet.traffic.of('kv/last-commit');
    const states = lastCommits.map((bytes) => KvFrame.decode(bytes).commit!.state);
    const blockBytes = frames.map((bytes) => KvFrame.decode(bytes).piece?.blockBytes ?? 0).find((size) => size > 0) ?? 0;
    const bodies = frames.filter((bytes) => !KvFrame.decode(bytes).hello);
    let connection: Connection | undefined;
    let key = pieceKey('', '');
    let gateway: Connection | undefined;
    let sent = 0;
    let number = 0;
    let closed = true;

    async function connect(chooser: Chooser): Promise<void> {
      connection?.close();
      sent = 0;
      number++;
      const reservationId = `res-${number}`;
      if (chooser.chance(0.8))
        await fleet.during(
          bus.request(contracts.dropReservation, [instanceId], { instanceId, reservationId: `res-${number - 1}` }, { timeoutMs: 2_000 }),
        );
      else await fleet.clock.advance(chooser.int(2_000));
      const reserved = await fleet.during(
        bus.request(
          contracts.reserve,
          [instanceId],
          {
            instanceId,
            reservationId,
            requestId: `req-${number}`,
            epoch: 2,
            blocks: 4,
            ttlMs: 3_000,
            purpose: chooser.chance(0.8) ? 'migration' : 'cache',
            sourceInstanceId: 'chat-1',
          },
          { timeoutMs: 2_000 },
        ),
      );
      count(outcomes, reserved?.refusal ? 'reservation refused' : 'reserved');
      key = pieceKey(reservationId, reserved?.transferToken ?? '');
      connection = await net.connect(fleet.kvAddress, { timeoutMs: 1_000, maxFrameBytes: 1 << 26 });
      const made = connection;
      closed = false;
      connection.onClose(() => {
        if (connection === made) closed = true;
      });
      connection.onFrame((bytes) => {
        const { have, result } = KvFrame.decode(bytes);
        if (have) count(outcomes, have.refusal ? `hello refused (${have.refusal.code})` : 'hello taken');
        if (have?.refusal && connection === made) closed = true;
        if (result?.refusal?.code === 'internal') findings.add(`a commit failed without a code: ${result.refusal.message}`);
        if (result)
          count(outcomes, result.refusal ? `commit refused (${result.refusal.code})` : result.missing.length > 0 ? 'blocks missing' : 'committed');
      });
      const hello = KvFrame.encode({
        hello: { reservationId, transferToken: reserved?.transferToken ?? '', stage: chooser.int(3), connection: 0, traceparent: '' },
      });
      connection.send(chooser.chance(0.9) ? hello : mutateProtobuf(hello, frames, fleet.names, chooser));
    }

    /** Every block, and a state that is almost right: what is taken over then makes no sense, and runs. */
    async function sendWhole(chooser: Chooser): Promise<boolean> {
      const commit = lastCommits.length > 0 ? KvFrame.decode(chooser.pick(lastCommits)).commit : undefined;
      if (!commit) return false;
      for (const [block, version] of commit.versions.entries()) {
        const piece = { block, offset: 0, blockBytes, version, payload: new Uint8Array(blockBytes) };
        connection!.send(KvFrame.encode({ piece: { ...piece, tag: pieceTag(key, piece) } }));
      }
      const own = SequenceState.encode({ ...SequenceState.decode(commit.state), requestId: `req-${number}` });
      const state = chooser.chance(0.4) ? own : mutateProtobuf(own, states, fleet.names, chooser);
      const last = { ...commit, state };
      connection!.send(KvFrame.encode({ commit: { ...last, crc: commitCrc(last) } }));
      await fleet.clock.advance(400);
      await takeOver();
      await fleet.clock.advance(1_000);
      sent = framesPerConnection;
      return true;
    }

    /** A gateway takes over what was just committed, whatever that is. */
    async function takeOver(): Promise<void> {
      gateway?.close();
      gateway = await net.connect(fleet.linkAddress, { timeoutMs: 1_000, maxFrameBytes: 1 << 26 });
      gateway.onFrame((bytes) => {
        for (const event of LinkFrame.decode(bytes).step?.events ?? [])
          count(outcomes, event.error ? `take-over refused (${event.error.code})` : 'taken over and speaks');
      });
      gateway.send(LinkFrame.encode({ hello: { id: 'gateway-fuzz', protocol: 1 } }));
      gateway.send(
        LinkFrame.encode({
          open: {
            stream: 1,
            requestId: `req-${number}`,
            instanceId,
            epoch: 2,
            endpoint: 'chat',
            body: new Uint8Array(),
            clientStreams: true,
            resumeTokenIds: [],
            resumeText: '',
            reservationId: `res-${number}`,
            priority: 0,
            arrivalMs: 0,
            createdS: 0,
            includeUsage: false,
            gatewayId: 'gateway-fuzz',
            traceparent: '',
            nextIndex: 0,
            maxOutputTokens: 0,
            promptTokens: 0,
            serviceTier: '',
            keyId: '',
            sloClass: 'standard',
          },
        }),
      );
      await fleet.clock.advance(200);
    }

    return {
      outcomes,
      async feed(chooser) {
        if (closed || sent >= framesPerConnection) {
          await connect(chooser);
          if (chooser.chance(0.2) && (await sendWhole(chooser))) return;
        }
        sent++;
        const valid = chooser.pick(bodies);
        const bytes = chooser.chance(0.4) ? valid : mutateProtobuf(valid, bodies, fleet.names, chooser);
        connection!.send(chooser.chance(0.85) ? withRightSums(bytes, key) : bytes);
        if (sent === framesPerConnection) {
          await fleet.clock.advance(400);
          await takeOver();
        }
      },
      async settle() {
        connection?.close();
        gateway?.close();
        connection = gateway = undefined;
        closed = true;
        await fleet.clock.advance(10_000);
        const view = await fleet.during(askFleet(bus, { timeoutMs: 5_000 }));
        for (const { status } of view?.instances ?? []) {
          if (status!.running + status!.waiting > 0) findings.add('sequences are left after their link was closed', JSON.stringify(status));
          else if (status!.reservedBlocks > 0) findings.add('reservations are left after their time', JSON.stringify(status));
          else if (status!.freeBlocks !== status!.totalBlocks) findings.add('blocks are lost', JSON.stringify(status));
        }
        const answered = await fleet.ask();
        if (answered !== 200) findings.add(`the next client gets ${answered ?? 'no answer'}`);
      },
      close: () => fleet.stop(),
    };
  },
};

export const kvSenderEntrance: Entrance = {
  name: 'KV transfer, sending side',
  weight: 2,
  shortInputs: 1_000,
  batch: 400,
  async open(seed, findings) {
    const fleet = await startFuzzedFleet(seed, findings);
    const outcomes = new Map<string, number>();
    const { bus, net } = fleet.stranger;
    const answers = fleet.traffic.of('kv/to-source');
    let chooserNow: Chooser | undefined;
    let waiting = 0;
    let gateway: Connection | undefined;
    let number = 0;
    const listener = await net.listen('kv', { host: 'rogue', port: 1, maxFrameBytes: 1 << 26 }, (connection) => {
      connection.onFrame(() => {
        const chooser = chooserNow!;
        for (let times = 1 + chooser.int(2); times > 0; times--)
          connection.send(mutateProtobuf(chooser.pick(answers), answers, fleet.names, chooser));
        if (chooser.chance(0.05)) connection.close();
      });
    });

    return {
      outcomes,
      async feed(chooser) {
        chooserNow = chooser;
        if (!gateway || chooser.chance(0.02)) {
          gateway?.close();
          gateway = await net.connect(fleet.linkAddress, { timeoutMs: 1_000, maxFrameBytes: 1 << 26 });
          gateway.onFrame(() => {});
          gateway.send(LinkFrame.encode({ hello: { id: 'gateway-fuzz', protocol: 1 } }));
          number++;
          const open = fleet.traffic
            .of('link/to-agent')
            .map((bytes) => LinkFrame.decode(bytes).open)
            .find((each) => each && each.reservationId === '');
          gateway.send(
            LinkFrame.encode({ open: { ...open!, stream: 1, requestId: `req-s${number}`, instanceId: 'chat-1', epoch: 1, maxOutputTokens: 5_000 } }),
          );
          await fleet.clock.advance(300);
        }
        waiting++;
        bus
          .request(
            contracts.copyStage,
            ['chat-1'],
            {
              instanceId: 'chat-1',
              reservationId: `res-${chooser.int(3)}`,
              requestId: `req-s${number}`,
              epoch: 1,
              kvAddress: listener.address,
              transferToken: 't',
              stage: chooser.int(3),
              last: chooser.chance(0.1),
              pauseLeaseMs: 100,
              connections: chooser.int(5),
            },
            { timeoutMs: 60_000 },
          )
          .then(
            ({ refusal }) => {
              if (refusal?.code === 'internal') findings.add(`a stage failed without a code: ${refusal.message}`);
              count(outcomes, refusal ? refusal.code : 'sent');
            },
            (thrown: unknown) => findings.thrown('copyStage', thrown),
          )
          .finally(() => waiting--);
        await fleet.clock.advance(1);
      },
      async settle() {
        await fleet.clock.until(() => waiting === 0, 120_000).catch(() => findings.add(`${waiting} stages neither sent nor refused`));
        gateway?.close();
        gateway = undefined;
        const answered = await fleet.ask();
        if (answered !== 200) findings.add(`the next client gets ${answered ?? 'no answer'}`);
      },
      close: () => fleet.stop(),
    };
  },
};
