// Views and requests for the tests of routing and admission.
import type { FleetView, InstanceStatus, InstanceView, RequestInfo, SequenceStatus } from '../../proto/gen/messages.ts';

export function anInstance(instanceId: string, status: Partial<InstanceStatus> = {}, view: Partial<InstanceView> = {}): InstanceView {
  return {
    status: {
      meta: null,
      instanceId,
      pool: 'chat',
      model: 'llama-3.1-8b',
      role: 'mixed',
      engine: 'sim',
      address: `ws://${instanceId}`,
      kvAddress: `tcp://${instanceId}`,
      agentId: 'agent-1',
      pid: 1,
      incarnation: 1,
      sequenceNumber: 1,
      atMs: 1000,
      totalBlocks: 2048,
      freeBlocks: 2048,
      blockTokens: 16,
      running: 0,
      waiting: 0,
      waitingBlocks: 0,
      headBlocks: 0,
      reservedBlocks: 0,
      maxRunning: 32,
      maxWaiting: 32,
      stepMs: 10,
      stepModel: { prefillBaseMs: 1, prefillPerTokenMs: 0.1, decodeBaseMs: 5, decodePerSequenceMs: 0.1 },
      sequences: [],
      preemptions: 0,
      tokensOut: 0,
      cachedBlocks: 0,
      capabilities: ['kv_export'],
      accepting: true,
      setAside: '',
      setAsideWhy: '',
      profile: 'llama-3.1-8b-h100',
      kvBytesPerToken: 256,
      maxContextTokens: 16_384,
      software: '',
      kvFormat: '',
      loadAtMs: 0,
      ...status,
    },
    health: 'healthy',
    stale: false,
    cordoned: false,
    cordonReason: 'none',
    receivedAtMs: 1000,
    ...view,
  };
}

export function aSequence(requestId: string, sequence: Partial<SequenceStatus> = {}): SequenceStatus {
  return {
    requestId,
    state: 'decode',
    promptTokens: 100,
    outputTokens: 1,
    maxOutputTokens: 100,
    blocks: 7,
    priority: 0,
    epoch: 1,
    gatewayId: 'gateway-1',
    arrivalMs: 0,
    traceparent: '',
    ...sequence,
  };
}

export function aView(instances: readonly InstanceView[], view: Partial<FleetView> = {}): FleetView {
  return { meta: null, trackerId: 'tracker-1', epoch: 1, version: 1, atMs: 1000, instances, nextAfter: '', ...view };
}

export function aRequest(requestId: string, request: Partial<RequestInfo> = {}): RequestInfo {
  return {
    requestId,
    pool: 'chat',
    model: 'llama-3.1-8b',
    sloClass: 'standard',
    priority: 0,
    arrivalMs: 0,
    queueDeadlineMs: 1e15,
    ttftSloMs: 0,
    tpotSloMs: 0,
    promptTokens: 100,
    maxOutputTokens: 100,
    prefixHashes: [],
    sessionId: '',
    fairnessId: '',
    keyId: '',
    gatewayId: 'gateway-1',
    generatedTokens: 0,
    avoidInstances: [],
    epoch: 0,
    traceparent: '',
    ...request,
  };
}
