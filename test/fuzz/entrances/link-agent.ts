// Frames that a gateway sends to an agent on the token link: streams opened, continued, taken over and cancelled with
// fields that make no sense, and bytes that are no frames. When the links are closed nothing of them is left on the engines.
import { askFleet } from '../../../lib/fleet/ask-fleet.ts';
import type { Connection } from '../../../lib/ports/net.ts';
import { LinkFrame } from '../../../proto/gen/messages.ts';
import type { Chooser } from '../chooser.ts';
import { count, type Entrance } from '../entrance.ts';
import { startFuzzedFleet } from '../fuzzed-fleet.ts';
import { mutateProtobuf } from '../mutate-protobuf.ts';

/** Links open at once. */
const maxOpen = 8;
const framesPerLink = 40;
const hello = LinkFrame.encode({ hello: { id: 'gateway-fuzz', protocol: 1 } });

export const linkAgentEntrance: Entrance = {
  name: 'token link, agent side',
  weight: 15,
  shortInputs: 1000,
  batch: 1000,
  async open(seed, findings) {
    const fleet = await startFuzzedFleet(seed, findings);
    const outcomes = new Map<string, number>();
    const { bus, net } = fleet.stranger;
    const address = fleet.linkAddress;
    const links: { connection: Connection; sent: number; closed: boolean }[] = [];
    const valid = fleet.traffic.of('link/to-agent');

    async function link(chooser: Chooser) {
      for (const used of links.filter((each) => each.closed || each.sent >= framesPerLink)) {
        used.connection.close();
        links.splice(links.indexOf(used), 1);
      }
      if (links.length >= maxOpen) return chooser.pick(links);
      const connection = await net.connect(address, { timeoutMs: 1_000, maxFrameBytes: 1 << 26 });
      const made = { connection, sent: 0, closed: false };
      connection.onClose(() => {
        made.closed = true;
        count(outcomes, 'link closed');
      });
      connection.onFrame((bytes) => {
        const frame = LinkFrame.decode(bytes);
        for (const event of frame.step?.events ?? []) count(outcomes, event.error ? `refused` : event.finishReason ? 'finished' : 'tokens');
      });
      links.push(made);
      return made;
    }

    return {
      outcomes,
      async feed(chooser) {
        const made = await link(chooser);
        if (made.sent === 0 && !chooser.chance(0.05)) made.connection.send(hello);
        made.sent++;
        made.connection.send(mutateProtobuf(chooser.pick(valid), valid, fleet.names, chooser));
        if (chooser.chance(0.02)) await fleet.clock.advance(chooser.int(50));
      },
      async settle() {
        await fleet.clock.advance(2_000);
        for (const each of links.splice(0)) each.connection.close();
        await fleet.clock.advance(2_000);
        const view = await fleet.during(askFleet(bus, { timeoutMs: 5_000 }));
        if (!view) findings.add('the tracker does not answer');
        for (const { status } of view?.instances ?? []) {
          if (status!.running + status!.waiting > 0) findings.add('sequences are left after their link was closed', JSON.stringify(status));
          else if (status!.freeBlocks !== status!.totalBlocks - status!.reservedBlocks) findings.add('blocks are lost', JSON.stringify(status));
        }
        const answered = await fleet.ask();
        if (answered !== 200) findings.add(`the next client gets ${answered ?? 'no answer'}`);
      },
      close: () => fleet.stop(),
    };
  },
};
