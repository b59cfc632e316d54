// Wires the gateway to its ports.

import { isSpeaking } from '../../core/request/request-state.ts';
import { watchKeys } from '../../lib/auth/watch-keys.ts';
import { httpTls } from '../../lib/config/http-tls.ts';
import { handOff, handOffOutcome, handOver, handOverOutcome, listRequests, queueOwnerChanged } from '../../lib/contracts.ts';
import { every, sleep } from '../../lib/ports/clock.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Running, Service } from '../../lib/run/service.ts';
import { type GatewayConfig, gatewaySchema } from './config.ts';
import { createDoneRecorder } from './done-recorder.ts';
import { createDoor } from './door.ts';
import { type EffectContext, perform } from './effects.ts';
import { createFleet } from './fleet.ts';
import { createIntake } from './intake.ts';
import { createLinkPool } from './link-pool.ts';
import { createMeters } from './meters.ts';
import { createRequests, type Requests } from './requests.ts';
import { createRoutes, routeOf } from './routes.ts';

export const gateway: Service<GatewayConfig> = { name: 'gateway', schema: gatewaySchema, start };

const gaugesMs = 1_000;
/** Kept back from the time to drain, for telling clients and recording ends. */
const lastWordsMs = 1_000;

async function start(config: GatewayConfig, ports: Ports): Promise<Running<GatewayConfig>> {
  const { bus, clock, net, http, telemetry, identity } = ports;
  const meters = createMeters(telemetry);
  const recorder = createDoneRecorder(ports, config);
  const keys = watchKeys(ports, { ttlMs: config.keyTtlMs, graceMs: config.keyGraceMs, maxEntries: config.maxKeys });
  const door = createDoor(keys, config.auth);
  let draining = false;

  const links = createLinkPool({
    ...config,
    net,
    clock,
    telemetry,
    gatewayId: identity.id,
    spoken: (requestId, event) =>
      requests.tell(requestId, event.error ? { type: 'spoken', event, noRetry: !requests.mayRetry() } : { type: 'spoken', event }),
    lost: (requestId, epoch, why) => requests.tell(requestId, { type: 'streamLost', epoch, why }),
    reached: (address, reached) => fleet.reached(address, reached),
  });
  const requests: Requests = createRequests({
    ports,
    config,
    meters,
    recorder,
    perform: (effect, exchange, state) => perform(effect, exchange, state, context),
  });
  const fleet = createFleet(ports, {
    dead(instanceIds) {
      for (const instanceId of instanceIds) {
        requests.tellAll({ type: 'instanceDead', instanceId }, (state) => isSpeaking(state.phase) && state.instanceId === instanceId);
      }
    },
    addresses: links.keep,
  });
  const context: EffectContext = {
    gatewayId: identity.id,
    config,
    bus,
    clock,
    telemetry,
    links,
    meters,
    capabilities: (instanceId) => fleet.capabilities(instanceId),
    unreachable: () => fleet.unreachable(),
    tell: requests.tell,
    retried: requests.retried,
    ended: requests.ended,
  };

  const subscriptions = [
    bus.subscribe(queueOwnerChanged, ['*'], ({ pool }) => requests.tellAll({ type: 'queueOwnerChanged' }, (state) => state.facts.info.pool === pool)),
    bus.serve(handOver, [identity.id], (command) => requests.handOver(command, fleet.capabilities(command.instanceId))),
    bus.serve(handOverOutcome, [identity.id], (query) => requests.handOverOutcome(query)),
    // Given away by the instance in the subject, which NATS lets nobody else use.
    bus.serve(handOff, [identity.id, '*'], (command, { keys }) => requests.handOver(command, fleet.capabilities(command.instanceId), keys[1])),
    bus.serve(handOffOutcome, [identity.id, '*'], (query, { keys }) => requests.handOverOutcome(query, keys[1])),
    bus.serve(listRequests, [], (query) => ({ requests: requests.rows(query.includeEnded) })),
  ];
  const stopGauges = every(clock, gaugesMs, () => meters.active(requests.countByPool()));

  const intake = createIntake({ ports, config, door, meters, requests, draining: () => draining });
  const server = await http.serve(
    { host: config.host, port: config.port, tls: httpTls(config), routeOf },
    createRoutes({ ports, config, door, intake, ready }),
  );
  telemetry.log.info('gateway listens', { address: server.address });
  if (config.auth === 'open') {
    telemetry.log.warn('open mode: anybody who can reach this address may use it without an API key; set auth to "keys" to change that', {
      address: server.address,
    });
  }

  function ready(): true | string {
    if (draining) return 'draining';
    if (!bus.connected()) return 'the bus is away';
    return fleet.serves();
  }

  return {
    ready,
    owns: () => [],
    async drain(withinMs) {
      draining = true;
      const untilMs = clock.now() + withinMs;
      const stop = new AbortController();
      await Promise.race([requests.empty(), sleep(clock, Math.max(0, withinMs - lastWordsMs), stop.signal)]);
      stop.abort();
      requests.tellAll({ type: 'cutShort' });
      await server.close(Math.max(0, Math.min(lastWordsMs, untilMs - clock.now())));
      await recorder.settled(Math.max(0, untilMs - clock.now()));
      stopGauges();
      links.close();
      await Promise.all([fleet.stop(), keys.stop()]);
      await Promise.all(subscriptions.map((subscription) => subscription.stop()));
    },
  };
}
