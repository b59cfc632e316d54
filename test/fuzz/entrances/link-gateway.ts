// Frames that an agent sends to a gateway on the token link: tokens of streams that are not, gaps, repeats, ends before the
// beginning, bytes that are no frames. Every client gets an end.

import { VirtualClock } from '../../../lib/clock/virtual-clock.ts';
import * as contracts from '../../../lib/contracts.ts';
import type { Body } from '../../../lib/ports/bus.ts';
import type { Connection } from '../../../lib/ports/net.ts';
import { createMemoryWorld } from '../../../lib/run/memory-ports.ts';
import { type AdmitReply, LinkFrame, type OpenStream, type StreamEvent } from '../../../proto/gen/messages.ts';
import { gatewaySchema } from '../../../services/gateway/config.ts';
import { gateway } from '../../../services/gateway/service.ts';
import type { Chooser } from '../chooser.ts';
import { count, type Entrance } from '../entrance.ts';
import { fleetConfig, gatewayUrl, model, watchedTelemetry } from '../fuzzed-fleet.ts';
import { mutateProtobuf } from '../mutate-protobuf.ts';

const maxClients = 20;

export const linkGatewayEntrance: Entrance = {
  name: 'token link, gateway side',
  weight: 15,
  shortInputs: 1000,
  batch: 1000,
  async open(seed, findings) {
    const clock = new VirtualClock();
    const world = createMemoryWorld({ seed, clock, telemetry: (id) => watchedTelemetry(clock, id, findings) });
    const { bus, net } = world.ports('rogue-1');
    const outcomes = new Map<string, number>();
    const opened: { open: OpenStream; connection: Connection }[] = [];
    const connections: Connection[] = [];
    let clients = 0;
    let assigned = 0;

    const listener = await net.listen('link', { host: 'rogue', port: 1, maxFrameBytes: 1 << 26 }, (connection) => {
      connections.push(connection);
      connection.onFrame((bytes) => {
        const { open } = LinkFrame.decode(bytes);
        if (open) opened.push({ open, connection });
        if (opened.length > 50) opened.shift();
      });
      connection.send(LinkFrame.encode({ hello: { id: 'rogue', protocol: 1 } }));
    });
    bus.serve(contracts.admit, ['*'], ({ request }): Body<AdmitReply> => {
      if (++assigned % 97 === 0) return { outcome: 'queued', queuePosition: 1, ownerEpoch: 1 };
      return {
        outcome: 'assigned',
        queuePosition: 0,
        ownerEpoch: 1,
        assignment: {
          requestId: request!.requestId,
          pool: 'chat',
          instanceId: `rogue-${assigned % 4}`,
          address: listener.address,
          epoch: request!.epoch + 1,
          assignedAtMs: clock.now(),
          routerId: 'r',
        },
      };
    });
    const running = await gateway.start(
      gatewaySchema.parse({ fleet: fleetConfig, queueMs: 2_000, recoverMs: 2_000, stallMs: 1_000, firstTokenMs: 1_000 }),
      world.ports('gateway-1'),
    );

    function send(): void {
      clients++;
      const stream = clients % 2 === 0;
      const body = JSON.stringify({ model, stream, max_tokens: 50, messages: [{ role: 'user', content: 'hello' }] });
      world.http
        .fetch(`${gatewayUrl}/v1/chat/completions`, { body })
        .then(async (reply) => {
          const text = await reply.text();
          if (reply.status === 500 && !/cannot_continue/.test(text)) findings.add('a client gets 500', text);
          count(outcomes, `client got ${reply.status}`);
        })
        .catch((thrown: unknown) => count(outcomes, `client got ${thrown instanceof Error ? thrown.message : 'nothing'}`))
        .finally(() => clients--);
    }

    function frameFor(open: OpenStream, chooser: Chooser): Uint8Array {
      const index = open.nextIndex + chooser.int(4);
      const finish = chooser.chance(0.2);
      const event: StreamEvent = {
        stream: open.stream,
        epoch: open.epoch,
        index,
        tokenIds: [index],
        text: 't ',
        data: new TextEncoder().encode('data: {}\n\n'),
        finishReason: finish ? 'stop' : '',
        usage: finish ? { promptTokens: 1, outputTokens: index + 1, cachedTokens: 0 } : null,
        finalBody: finish ? new TextEncoder().encode('{}') : new Uint8Array(),
        error: chooser.chance(0.05) ? { code: 'toString', message: 'no', retryable: true, retryAfterMs: 1 } : null,
      };
      return LinkFrame.encode({ step: { instanceId: open.instanceId, events: [event, event].slice(0, 1 + chooser.int(2)) } });
    }

    return {
      outcomes,
      async feed(chooser) {
        while (clients < maxClients) send();
        if (opened.length === 0) await clock.advance(20);
        const at = opened[chooser.int(opened.length)];
        if (!at) return;
        const valid = frameFor(at.open, chooser);
        at.connection.send(chooser.chance(0.1) ? valid : mutateProtobuf(valid, [valid], ['chat', at.open.instanceId, at.open.requestId], chooser));
        if (chooser.chance(0.1)) await clock.advance(1);
        if (chooser.chance(0.01)) at.connection.close();
      },
      async settle() {
        opened.length = 0;
        await clock.until(() => clients === 0, 300_000).catch(() => findings.add('clients get no end', `${clients} of them`));
        connections.length = 0;
      },
      async close() {
        let over = false;
        void running.drain(1_000).finally(() => {
          over = true;
        });
        await clock.until(() => over, 60_000).catch(() => findings.add('the gateway does not stop'));
      },
    };
  },
};
