// The agent: carries engines, speaks for them on token links, moves their KV blocks, reports their state. It decides
// nothing about placement.
import { hostActors } from '../../lib/actor/host.ts';
import { serversOf } from '../../lib/engines/openai/servers.ts';
import { receiveKv } from '../../lib/kv/kv-receiver.ts';
import { sleep } from '../../lib/ports/clock.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Running, Service } from '../../lib/run/service.ts';
import { instanceActor } from './actor.ts';
import { type AgentConfig, agentSchema } from './config.ts';
import { createEffects } from './effects.ts';
import { createGenerateSpans } from './generate-spans.ts';
import { createHandOffs } from './hand-offs.ts';
import { createInstances, type Instances } from './instances.ts';
import { type Launcher, serveLauncher } from './launcher.ts';
import { type Links, serveLinks } from './links.ts';
import { createOrphans } from './orphans.ts';

/** All but `pretend`. */
const fixedSettings = Object.keys(agentSchema.shape).filter((name) => name !== 'pretend');

async function start(config: AgentConfig, ports: Ports): Promise<Running<AgentConfig>> {
  const { clock, telemetry } = ports;
  const orphans = createOrphans(config, ports);
  const spans = createGenerateSpans(telemetry, clock);
  const perform = createEffects({
    telemetry,
    instances: () => instances,
    links: () => links,
    spans,
    orphans,
    handOffs: () => handOffs,
    tell: (id, message) => void actors.tell(id, message),
  });
  const actors = hostActors({ actor: instanceActor, clock, telemetry, perform });
  const instances: Instances = createInstances({
    config,
    ports,
    actors,
    spans,
    addresses: () => ({ link: links.address, kv: kv.address }),
  });

  const handOffs = createHandOffs({ ports, atOnce: config.handOffsAtOnce, followFromBytes: config.followFromBytes, find: instances.get });

  function hold(link: number, held: boolean): void {
    for (const { instanceId, adapter } of instances.all()) {
      for (const stream of actors.state(instanceId)?.streams.values() ?? []) {
        if (stream.link === link) adapter.hold(stream.requestId, stream.epoch, held);
      }
    }
  }

  const kv = await receiveKv({ ...ports, host: config.host, port: config.kvPort, find: instances.incoming });
  const links: Links = await serveLinks(config, ports, {
    open(link, open) {
      if (!instances.get(open.instanceId)) return false;
      actors.tell(open.instanceId, { type: 'open', link, open });
      return true;
    },
    cancel(link, cancel) {
      for (const { instanceId } of instances.all()) actors.tell(instanceId, { type: 'cancel', link, cancel });
    },
    closed(link) {
      for (const { instanceId } of instances.all()) actors.tell(instanceId, { type: 'link_closed', link });
    },
    hold,
  });

  for (const entry of config.instances) {
    const [poolId, instanceId] = entry.split('/') as [string, string];
    const pool = config.fleet.pools.find(({ id }) => id === poolId)!;
    for (const id of instanceId === '*' ? serversOf(pool).map((server) => server.id) : [instanceId]) instances.start(poolId, id);
  }
  const launcher: Launcher | undefined = config.launcher ? serveLauncher(config, ports, instances) : undefined;

  return {
    ready: () => ports.bus.connected() || 'not connected to the bus',
    owns: () => launcher?.leases().map(({ name, epoch }) => `${name}@${epoch}`) ?? [],
    reconfigure: (changed) => instances.pretend(changed.pretend),
    async drain(withinMs) {
      for (const { instanceId } of instances.all()) actors.tell(instanceId, { type: 'stop_accepting' });
      // Running sequences may end, or be moved away, until the time is over.
      const over = new AbortController();
      await Promise.race([instances.empty(), sleep(clock, withinMs, over.signal)]);
      over.abort();
      await launcher?.stop();
      await Promise.all(instances.all().map(({ instanceId }) => instances.stop(instanceId)));
      await Promise.all([links.close(), kv.close()]);
      orphans.stop();
      handOffs.stop();
      actors.stopAll();
    },
  };
}

export const agent: Service<AgentConfig> = { name: 'agent', schema: agentSchema, fixedSettings, start };
