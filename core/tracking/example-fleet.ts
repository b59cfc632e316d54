// Example instances and sequences for tests and documentation. Every field has a plain value; name what matters.
import type { FleetDelta, FleetView, InstanceStatus, InstanceView, SequenceStatus } from '../../proto/gen/messages.ts';
import type { KnownInstance } from './fleet-view.ts';
import { wholeChange } from './instance-change.ts';

export const exampleNowMs = 1_700_000_000_000;

export function exampleSequence(fields: Partial<SequenceStatus> & { requestId: string }): SequenceStatus {
  const promptTokens = fields.promptTokens ?? 160;
  const outputTokens = fields.outputTokens ?? 16;
  return {
    state: 'decode',
    promptTokens,
    outputTokens,
    maxOutputTokens: 1_000,
    blocks: fields.state === 'waiting' ? 0 : Math.ceil((promptTokens + outputTokens) / 16),
    priority: 0,
    epoch: 1,
    gatewayId: 'gateway-1',
    arrivalMs: exampleNowMs - 5_000,
    traceparent: '',
    ...fields,
  };
}

/** Counts (running, waiting, free blocks and so on) follow from the sequences unless they are given. */
export function exampleStatus(fields: Partial<InstanceStatus> & { instanceId: string }): InstanceStatus {
  const sequences = fields.sequences ?? [];
  const blockTokens = fields.blockTokens ?? 16;
  const totalBlocks = fields.totalBlocks ?? 1_000;
  const waiting = sequences.filter((s) => s.state === 'waiting');
  const demand = (s: SequenceStatus) => Math.ceil((s.promptTokens + s.outputTokens) / blockTokens) - s.blocks;
  const reservedBlocks = fields.reservedBlocks ?? 0;
  return {
    pool: 'chat',
    model: 'llama-3.1-8b',
    role: 'mixed',
    engine: 'sim',
    address: `ws://127.0.0.1/${fields.instanceId}`,
    kvAddress: `tcp://127.0.0.1/${fields.instanceId}`,
    agentId: 'agent-1',
    pid: 0,
    incarnation: exampleNowMs - 60_000,
    sequenceNumber: 1,
    atMs: exampleNowMs,
    totalBlocks,
    freeBlocks: totalBlocks - reservedBlocks - sequences.reduce((sum, s) => sum + s.blocks, 0),
    blockTokens,
    running: sequences.length - waiting.length,
    waiting: waiting.length,
    waitingBlocks: waiting.reduce((sum, s) => sum + demand(s), 0),
    headBlocks: waiting[0] ? demand(waiting[0]) : 0,
    reservedBlocks,
    maxRunning: 32,
    maxWaiting: 32,
    stepMs: 20,
    stepModel: { prefillBaseMs: 10, prefillPerTokenMs: 0.1, decodeBaseMs: 15, decodePerSequenceMs: 0.5 },
    preemptions: 0,
    tokensOut: 0,
    cachedBlocks: 0,
    capabilities: ['kv_export', 'recompute'],
    accepting: true,
    setAside: '',
    setAsideWhy: '',
    profile: 'llama-3.1-8b-h100',
    kvBytesPerToken: 1_024,
    maxContextTokens: 16_384,
    software: '',
    kvFormat: '',
    loadAtMs: 0,
    sequences,
    ...fields,
  };
}

export function exampleInstance(
  fields: Partial<InstanceStatus> & { instanceId: string },
  view: Partial<Omit<InstanceView, 'status'>> = {},
): KnownInstance {
  return {
    health: 'healthy',
    stale: false,
    cordoned: false,
    cordonReason: 'none',
    receivedAtMs: exampleNowMs,
    ...view,
    status: exampleStatus(fields),
  };
}

export function exampleView(instances: readonly KnownInstance[], version = 1): FleetView {
  return { trackerId: 'instance-tracker-1', epoch: 1, version, atMs: exampleNowMs, instances, nextAfter: '' };
}

/** As a tracker announces a view that needs none before it. */
export function announced(view: Omit<FleetView, 'nextAfter'>): FleetDelta {
  const { trackerId, epoch, version, atMs } = view;
  return { trackerId, epoch, version, baseVersion: 0, atMs, changed: view.instances.map(wholeChange), removed: [], more: false };
}
