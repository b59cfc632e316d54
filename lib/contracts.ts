// Every subject on the bus, in one place. Who publishes, who listens: docs/contracts.md is made from services' READMEs.

import type { Codec } from '../proto/codec.ts';
import * as m from '../proto/gen/messages.ts';
import type { Rpc, Topic } from './ports/bus.ts';

type Enveloped = { meta?: m.Meta | null };

function topic<T extends Enveloped>(pattern: string, message: Codec<T>): Topic<T> {
  return { pattern: `sy.v1.${pattern}`, message };
}

function rpc<Q extends Enveloped, A extends Enveloped>(pattern: string, question: Codec<Q>, answer: Codec<A>): Rpc<Q, A> {
  return { pattern: `sy.v1.${pattern}`, question, answer };
}

/** Keys: pool. Served by the owner of the pool's queue. Answers within its long-poll time, if only with "queued". */
export const admit = rpc('admission.*.admit', m.AdmitRequest, m.AdmitReply);
/** Keys: pool. */
export const leaveQueue = topic('admission.*.leave', m.LeaveQueue);
/** Keys: pool. */
export const queueOwnerChanged = topic('admission.*.owner', m.QueueOwnerChanged);
/** Keys: pool. Published by the owner of the pool's queue. */
export const queueStatus = topic('admission.*.queue', m.QueueStatus);

/** Keys: pool. Recorded. */
export const requestsDone = topic('request.done.*', m.RequestsDone);

/** Served by all routers as one group. */
export const route = rpc('router.route', m.RouteRequest, m.RouteReply);
export const booked = topic('router.booked', m.Bookings);

/** Keys: pool, instance. */
export const instanceStatus = topic('status.*.*', m.InstanceStatus);
/** Keys: pool, instance. By agents whose engines say what they cache. */
export const prefixesCached = topic('prefixes.*.*', m.CachedPrefixes);
export const fleetChanged = topic('fleet.view', m.FleetDelta);
/** Served by the publishing tracker. The answer is one page. */
export const getFleet = rpc('fleet.get', m.FleetQuery, m.FleetView);
/** Served by the publishing tracker. */
export const cordon = rpc('fleet.cordon', m.CordonCommand, m.Acknowledgement);

/** Keys: instance. Served by the agent of the instance. */
export const reserve = rpc('agent.*.reserve', m.ReserveCommand, m.ReserveReply);
/** Keys: instance. */
export const copyStage = rpc('agent.*.copy', m.CopyStageCommand, m.CopyStageReply);
/** Keys: instance. */
export const release = rpc('agent.*.release', m.ReleaseCommand, m.Acknowledgement);
/** Keys: instance. */
export const dropReservation = rpc('agent.*.drop', m.DropReservationCommand, m.Acknowledgement);

/** Keys: gateway. */
export const handOver = rpc('gateway.*.hand_over', m.HandOverCommand, m.HandOverReply);
/** Keys: gateway. */
export const handOverOutcome = rpc('gateway.*.hand_over_outcome', m.HandOverQuery, m.HandOverReply);
/** Keys: gateway, and the instance that speaks for the request and gives it away: nobody else may. */
export const handOff = rpc('gateway.*.hand_off.*', m.HandOverCommand, m.HandOverReply);
/** Keys: gateway, instance that gave it away. */
export const handOffOutcome = rpc('gateway.*.hand_off_outcome.*', m.HandOverQuery, m.HandOverReply);
/** Served by every gateway, for gather. */
export const listRequests = rpc('gateways.requests', m.RequestsQuery, m.RequestsReply);

/** Served by the owning coordinator. */
export const moveRequest = rpc('migration.move', m.MoveCommand, m.MoveReply);
export const drainInstance = rpc('migration.drain', m.DrainCommand, m.DrainReply);
export const undrainInstance = rpc('migration.undrain', m.UndrainCommand, m.Acknowledgement);
export const listMigrations = rpc('migration.list', m.MigrationsQuery, m.MigrationsReply);
export const migrationEnded = topic('migration.ended', m.MigrationEnded);

/** Keys: pool. Served by the owner of the pool's scaler. */
export const scalePool = rpc('scaling.*.scale', m.ScaleCommand, m.ScaleReply);
/** Keys: pool. */
export const setScalingMode = rpc('scaling.*.mode', m.ScalingModeCommand, m.Acknowledgement);
/** Served by every autoscaler that owns pools, for gather. */
export const listPools = rpc('scaling.pools', m.PoolsQuery, m.PoolsReply);
/** Recorded. */
export const scalingDecided = topic('scaling.decided', m.ScalingDecided);
export const scalingEnded = topic('scaling.ended', m.ScalingEnded);
/** Keys: instance. Served by whoever can start it (supervisor, agents that carry several engines), as one group. */
export const startInstance = rpc('launcher.*.start', m.StartInstanceCommand, m.Acknowledgement);
/** Keys: instance. Served by whoever started it. */
export const stopInstance = rpc('launcher.*.stop', m.StopInstanceCommand, m.Acknowledgement);

/** Served by workers as one group. */
export const vote = rpc('approval.vote', m.VoteCommand, m.VoteReply);
export const listApprovals = rpc('approval.list', m.ApprovalsQuery, m.ApprovalsReply);

/** Recorded. */
export const audit = topic('audit', m.AuditEvent);
/** Served by every process, for gather. */
export const describeServices = rpc('operations.services', m.ServicesQuery, m.ServiceInfo);
/** Served by every process, for gather. */
export const findSpans = rpc('operations.spans', m.SpansQuery, m.SpansReply);

/** Heard by every process that exports spans. */
export const tracesKept = topic('operations.traces_kept', m.TracesKept);

/** Heard by every process that lets people in. */
export const keyRevoked = topic('operations.key_revoked', m.KeyRevoked);

/** What JetStream keeps: topic, bound by age and count. */
export const recordedTopics = [
  { stream: 'REQUESTS', topic: requestsDone, maxAgeMs: 24 * 3_600_000, maxMessages: 1_000_000 },
  { stream: 'SCALING', topic: scalingDecided, maxAgeMs: 7 * 24 * 3_600_000, maxMessages: 100_000 },
  { stream: 'AUDIT', topic: audit, maxAgeMs: 365 * 24 * 3_600_000, maxMessages: 1_000_000 },
] as const;
