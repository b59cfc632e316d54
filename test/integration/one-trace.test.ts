import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MoveAnswer, WorkflowRow } from '../../lib/operator/types.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '../support/otlp-receiver.ts';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const clientSpanId = '00f067aa0ba902b7';

/** Caller -> callee, as service and span name. The client's span is known by its id only. */
const edges: readonly (readonly [string, string])[] = [
  ['client', 'gateway chat llama-3.1-8b'],
  ['gateway chat llama-3.1-8b', 'gateway admit'],
  ['gateway admit', 'admission admit'],
  ['admission admit', 'router route'],
  ['gateway chat llama-3.1-8b', 'gateway stream'],
  ['gateway stream', 'agent engine.generate'],
  ['gateway stream', 'migration-coordinator migrate'],
  ['migration-coordinator migrate', 'worker workflow.preCopyShort'],
  ['migration-coordinator migrate', 'worker workflow.cutOver'],
  ['worker workflow.preCopyShort', 'worker migrate.stage'],
  ['worker migrate.stage', 'agent kv.send'],
  ['agent kv.send', 'agent kv.receive'],
];

describe('one trace', () => {
  let fleet: Fleet;
  let receiver: OtlpReceiver;
  beforeAll(async () => {
    receiver = await startOtlpReceiver();
    fleet = await startFleet({
      pools: [
        {
          id: 'chat',
          models: ['llama-3.1-8b'],
          instances: 2,
          sim: { profile: 'llama-3.1-8b-h100', speed: 0.1, blocks: 1024, kvBytesPerToken: 256, maxRunning: 16, maxWaiting: 16 },
        },
      ],
      settings: { 'migration-coordinator': { mode: 'off' } },
      env: {
        OTEL_TRACES_EXPORTER: 'otlp',
        OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
        OTEL_BSP_SCHEDULE_DELAY: '200',
      },
    });
  });
  afterAll(async () => {
    await fleet?.stop();
    await receiver?.stop();
  });

  it('spans client, gateway, admission, router, agent, coordinator, workflow and both agents of a migration', async () => {
    const answer = fetch(`${fleet.gatewayUrl}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', traceparent: `00-${traceId}-${clientSpanId}-01` },
      body: JSON.stringify({ model: 'llama-3.1-8b', stream: true, max_tokens: 100, messages: [{ role: 'user', content: 'Travel' }] }),
    }).then((response) => response.text());
    let requestId = '';
    await eventually('it streams', 10_000, async () => {
      const rows = await fleet.requests();
      requestId = rows.find((row) => row.state === 'streaming' && row.tokens > 3)?.id ?? '';
      return { ok: requestId !== '', seen: rows };
    });
    const move = await fleet.client('test').post<MoveAnswer>('/migrate', { request: requestId, to: '' });
    await eventually('the migration ends', 20_000, async () => {
      const row = await fleet.client('test').get<WorkflowRow>(`/workflows/${move.workflowId}`);
      return { ok: row.status === 'completed', seen: row };
    });
    expect(await answer).toContain('data: [DONE]');

    const named = (span: ReceivedSpan) => `${span.service.replace('switchyard-', '')} ${span.name}`;
    const missing = () => {
      const spans = receiver.spans.filter((span) => span.traceId === traceId);
      const byId = new Map(spans.map((span) => [span.spanId, span]));
      const found = new Set(
        spans.map((span) => {
          const parent = byId.get(span.parentSpanId);
          const from = parent ? named(parent) : span.parentSpanId === clientSpanId ? 'client' : '?';
          return `${from} -> ${named(span)}`;
        }),
      );
      return { missing: edges.map(([from, to]) => `${from} -> ${to}`).filter((edge) => !found.has(edge)), found: [...found].sort() };
    };
    await eventually('every edge has arrived', 10_000, () => {
      const look = missing();
      return { ok: look.missing.length === 0, seen: look };
    });
    const agents = new Set(
      receiver.spans
        .filter((span) => span.traceId === traceId && span.name === 'engine.generate')
        .map((span) => span.attributes['switchyard.instance.id']),
    );
    expect(agents.size).toBe(2);
  }, 90_000);
});
