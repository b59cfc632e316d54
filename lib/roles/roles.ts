// Who may say and hear what on the bus, and who may touch what in the store: one table, from which the users of NATS and
// of Redis are made. What is not in it a service cannot do, even when somebody else runs in its place.
import * as contracts from '../contracts.ts';
import type { Rpc, Topic } from '../ports/bus.ts';
import { type ServiceName, serviceNames } from '../run/service.ts';

// biome-ignore lint/suspicious/noExplicitAny: only patterns are looked at
type AnyTopic = Topic<any>;
// biome-ignore lint/suspicious/noExplicitAny: only patterns are looked at
type AnyRpc = Rpc<any, any>;

export interface BusRole {
  readonly publishes?: readonly AnyTopic[];
  readonly hears?: readonly AnyTopic[];
  readonly asks?: readonly AnyRpc[];
  readonly serves?: readonly AnyRpc[];
  /** Stores in a stream. */
  readonly records?: readonly AnyTopic[];
  /** Takes from a stream, under the name of a durable consumer. */
  readonly consumes?: readonly { readonly topic: AnyTopic; readonly durable: string }[];
  /** Looks at what a stream has. */
  readonly reads?: readonly AnyTopic[];
}

/** Names as the `Store` port has them; `*` stands for any rest. */
export interface StoreRole {
  readonly leases?: readonly string[];
  readonly snapshots?: readonly string[];
  /** Entries that are only looked at. */
  readonly reads?: readonly string[];
  readonly writes?: readonly string[];
  /** May list entries: it then sees the names of all keys, though not what is in them. */
  readonly lists?: boolean;
  readonly appends?: readonly string[];
  readonly readsLogs?: readonly string[];
  readonly ledger?: boolean;
  /** What keys have spent. */
  readonly readsLedger?: boolean;
}

export interface Role {
  readonly bus: BusRole;
  readonly store: StoreRole;
  /** Opens or takes token links and KV connections. */
  readonly dataPlane?: boolean;
}

/**
 * `supervisor` is the process of `npm start`, which starts and stops agents; they are started as `lone-agent` in the store,
 * which such an agent needs for nothing, and on the bus each as itself (agent-seat.ts).
 */
export const userNames = [...serviceNames, 'supervisor', 'lone-agent'] as const;
export type UserName = (typeof userNames)[number];

/** What every process of a service does, besides its role. */
export const everyService: BusRole = {
  serves: [contracts.describeServices, contracts.findSpans],
  publishes: [contracts.tracesKept],
  hears: [contracts.tracesKept],
};

const moving = [contracts.reserve, contracts.copyStage, contracts.release, contracts.dropReservation];
const launching = [contracts.startInstance, contracts.stopInstance];

const services: Readonly<Record<ServiceName, Role>> = {
  gateway: {
    bus: {
      asks: [contracts.admit, contracts.getFleet],
      serves: [contracts.handOver, contracts.handOverOutcome, contracts.handOff, contracts.handOffOutcome, contracts.listRequests],
      publishes: [contracts.leaveQueue],
      hears: [contracts.queueOwnerChanged, contracts.fleetChanged, contracts.keyRevoked],
      records: [contracts.requestsDone],
    },
    store: { reads: ['key/*'] },
    dataPlane: true,
  },
  admission: {
    bus: {
      asks: [contracts.route, contracts.getFleet],
      serves: [contracts.admit],
      publishes: [contracts.queueOwnerChanged, contracts.queueStatus],
      hears: [contracts.leaveQueue, contracts.queueOwnerChanged, contracts.requestsDone, contracts.booked, contracts.fleetChanged],
      consumes: [{ topic: contracts.requestsDone, durable: 'admission-ledger' }],
      reads: [contracts.requestsDone],
    },
    store: { leases: ['queue/*'], reads: ['key/*'], ledger: true },
  },
  router: {
    bus: {
      asks: [contracts.getFleet],
      serves: [contracts.route],
      publishes: [contracts.booked],
      hears: [contracts.booked, contracts.requestsDone, contracts.queueOwnerChanged, contracts.fleetChanged, contracts.prefixesCached],
    },
    store: { appends: ['decision/*'] },
  },
  'instance-tracker': {
    bus: {
      serves: [contracts.getFleet, contracts.cordon],
      publishes: [contracts.fleetChanged],
      hears: [contracts.instanceStatus, contracts.fleetChanged],
    },
    store: { leases: ['fleet/view'], snapshots: ['fleet/view'], writes: ['fleet/cordon/*'], lists: true },
  },
  'migration-coordinator': {
    bus: {
      asks: [contracts.getFleet, contracts.cordon],
      serves: [contracts.moveRequest, contracts.drainInstance, contracts.undrainInstance, contracts.listMigrations],
      hears: [contracts.fleetChanged, contracts.migrationEnded],
      records: [contracts.audit],
    },
    store: { leases: ['coordinator'], snapshots: ['coordinator'] },
  },
  autoscaler: {
    bus: {
      asks: [contracts.getFleet],
      serves: [contracts.scalePool, contracts.setScalingMode, contracts.listPools],
      hears: [contracts.fleetChanged, contracts.queueStatus, contracts.scalingEnded, contracts.migrationEnded],
      records: [contracts.scalingDecided, contracts.audit],
    },
    store: { leases: ['scaler/*'], snapshots: ['scaler/*'], writes: ['scaler/mode/*'] },
  },
  agent: {
    bus: {
      asks: [contracts.listRequests, contracts.reserve, contracts.dropReservation, contracts.handOff, contracts.handOffOutcome],
      serves: [...moving, ...launching],
      publishes: [contracts.instanceStatus, contracts.prefixesCached],
      records: [contracts.requestsDone],
    },
    store: { leases: ['instance/*'] },
    dataPlane: true,
  },
  worker: {
    bus: {
      asks: [...moving, ...launching, contracts.handOver, contracts.handOverOutcome, contracts.getFleet, contracts.cordon, contracts.moveRequest],
      serves: [contracts.vote, contracts.listApprovals],
      publishes: [contracts.migrationEnded, contracts.scalingEnded],
      records: [contracts.audit],
    },
    store: { writes: ['approval/*'], lists: true },
  },
  console: {
    bus: {
      asks: [
        contracts.describeServices,
        contracts.findSpans,
        contracts.getFleet,
        contracts.listRequests,
        contracts.listPools,
        contracts.listMigrations,
        contracts.listApprovals,
        contracts.moveRequest,
        contracts.drainInstance,
        contracts.undrainInstance,
        contracts.scalePool,
        contracts.setScalingMode,
        contracts.vote,
      ],
      publishes: [contracts.keyRevoked],
      hears: [contracts.keyRevoked, contracts.queueStatus],
      records: [contracts.audit],
      reads: [contracts.audit],
    },
    store: { writes: ['key/*'], lists: true, readsLogs: ['decision/*'], readsLedger: true },
  },
};

export const roles: Readonly<Record<UserName, Role>> = {
  ...services,
  supervisor: { bus: { serves: launching, asks: [contracts.describeServices, contracts.getFleet] }, store: {} },
  'lone-agent': { bus: {}, store: {} },
};

/** A user's role together with what every service does. */
export function busRole(user: UserName): Required<BusRole> {
  const own = roles[user].bus;
  const common = user === 'supervisor' || user === 'lone-agent' ? {} : everyService;
  return {
    publishes: [...(common.publishes ?? []), ...(own.publishes ?? [])],
    hears: [...(common.hears ?? []), ...(own.hears ?? [])],
    asks: own.asks ?? [],
    serves: [...(common.serves ?? []), ...(own.serves ?? [])],
    records: own.records ?? [],
    consumes: own.consumes ?? [],
    reads: own.reads ?? [],
  };
}
