// The real telemetry and its twin: what both must do, then what only one does.
import { describe, expect, test } from 'vitest';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { SpanRecord } from '../../proto/gen/messages.ts';
import { systemClock } from '../clock/system-clock.ts';
import { VirtualClock } from '../clock/virtual-clock.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { attributeNames } from './attributes.ts';
import { createMemoryTelemetry } from './memory-telemetry.ts';
import { type MetricEntry, maxLabelValues, metrics } from './metrics.ts';
import { createOtelTelemetry, type OtelTelemetryOptions } from './otel.ts';
import { maxEvents } from './recorded-span.ts';
import type { SpanSource } from './span-ring.ts';

const lines: string[] = [];
const otel = (options: Partial<OtelTelemetryOptions> = {}) =>
  createOtelTelemetry({
    service: 'router',
    id: 'router-1',
    pid: 7,
    version: '1.2.3',
    clock: systemClock,
    logLevel: 'debug',
    writeLog: (line) => lines.push(line),
    ...options,
  });

const both: [string, () => Telemetry & { ring: SpanSource }][] = [
  ['memory', () => createMemoryTelemetry(systemClock, { process: 'router-1', service: 'router' })],
  ['otel', () => otel()],
];

describe.each(both)('telemetry: %s', (_name, make) => {
  const find = (telemetry: { ring: SpanSource }, traceId: string): SpanRecord[] => telemetry.ring.find({ requestId: '', traceId });

  test('spans nest by call, across awaits', async () => {
    const telemetry = make();
    let traceId = '';
    await telemetry.span('route', {}, async (outer) => {
      traceId = outer.traceId;
      expect(telemetry.active()?.traceparent).toBe(outer.context.traceparent);
      await Promise.resolve();
      telemetry.span('route.pick', { attributes: { 'switchyard.candidates': 3, 'switchyard.reason': undefined } }, (inner) => {
        expect(inner.traceId).toBe(outer.traceId);
        inner.event('picked');
        inner.event('finish', { 'switchyard.reason': 'moved' });
      });
      expect(telemetry.active()?.traceparent).toBe(outer.context.traceparent);
    });
    expect(telemetry.active()).toBeUndefined();
    const spans = find(telemetry, traceId);
    expect(spans.map((span) => span.name)).toEqual(['route', 'route.pick']);
    expect(spans[1]).toMatchObject({
      parentSpanId: spans[0]!.spanId,
      service: 'router',
      process: 'router-1',
      failed: false,
      events: ['picked', 'finish (moved)'],
    });
    expect(spans[1]!.attributesJson).toBe('{"switchyard.candidates":3}');
    expect(spans[0]!.parentSpanId).toBe('');
  });

  test('a parent, a link and a context from elsewhere are taken', () => {
    const telemetry = make();
    const far = make().start('far');
    const linked = make().start('linked');
    const child = telemetry.start('near', { parent: far.context, links: [linked.context] });
    child.end();
    expect(child.traceId).toBe(far.traceId);
    expect(find(telemetry, far.traceId)[0]!.linkedTraceIds).toEqual([linked.traceId]);
    telemetry.within(far.context, () => expect(telemetry.start('inside').traceId).toBe(far.traceId));
    telemetry.span('outer', {}, () => telemetry.within(undefined, () => expect(telemetry.active()).toBeUndefined()));
  });

  test('a throw or a rejection marks the span as failed by its code, ends it, and goes on', async () => {
    const telemetry = make();
    const ids: string[] = [];
    expect(() =>
      telemetry.span('sync', {}, (span) => {
        ids.push(span.traceId);
        throw new SwitchyardError('no_instance', 'none');
      }),
    ).toThrow('none');
    await expect(
      telemetry.span('async', {}, async (span) => {
        ids.push(span.traceId);
        throw new Error('broken');
      }),
    ).rejects.toThrow('broken');
    const [sync, asynchronous] = ids.map((id) => find(telemetry, id)[0]!);
    expect(sync).toMatchObject({ failed: true, attributesJson: '{"error.type":"no_instance"}' });
    expect(asynchronous).toMatchObject({ failed: true, attributesJson: '{"error.type":"internal"}' });
  });

  test('a journey is found by the request that any of its spans names', () => {
    const telemetry = make();
    const root = telemetry.start('request', { attributes: { 'switchyard.request.id': 'req-1' } });
    telemetry.start('other', { parent: root.context }).end();
    telemetry.start('unrelated', { attributes: { 'switchyard.request.id': 'req-2' } }).end();
    root.end();
    expect(telemetry.ring.find({ requestId: 'req-1', traceId: '' }).map((span) => span.name)).toEqual(['request', 'other']);
    expect(telemetry.ring.find({ requestId: 'req-3', traceId: '' })).toEqual([]);
  });

  test('undeclared metrics and labels are refused', () => {
    const telemetry = make();
    expect(() => telemetry.counter('switchyard_surprises_total')).toThrow('not declared');
    expect(() => telemetry.gauge('switchyard_requests_total')).toThrow('is a counter');
    expect(() => telemetry.counter('switchyard_requests_total').add(1, { user: 'me' })).toThrow('has no label user');
  });
});

describe('memory telemetry', () => {
  test('adds up counters, keeps gauges and observations', () => {
    const telemetry = createMemoryTelemetry(systemClock);
    telemetry.counter('switchyard_drops_total').add(1, { pool: 'a', reason: 'shed' });
    telemetry.counter('switchyard_drops_total').add(2, { reason: 'shed', pool: 'a' });
    telemetry.counter('switchyard_drops_total').add(4, { pool: 'b', reason: 'shed' });
    telemetry.gauge('switchyard_queue_depth').set(5, { pool: 'a', slo_class: 'default' });
    telemetry.gauge('switchyard_queue_depth').set(3, { pool: 'a', slo_class: 'default' });
    telemetry.histogram('switchyard_scheduler_e2e_duration_seconds').observe(0.5);
    expect(telemetry.value('switchyard_drops_total', { pool: 'a', reason: 'shed' })).toBe(3);
    expect(telemetry.value('switchyard_drops_total')).toBe(7);
    expect(telemetry.value('switchyard_queue_depth')).toBe(3);
    expect(telemetry.observations.get('switchyard_scheduler_e2e_duration_seconds')).toEqual([0.5]);
  });

  test('refuses undeclared attributes', () => {
    const telemetry = createMemoryTelemetry(systemClock);
    expect(() => telemetry.start('x', { attributes: { 'switchyard.prompt': 'text' } })).toThrow('not declared in lib/telemetry/attributes.ts');
    expect(() => telemetry.start('x').set({ surprise: 1 })).toThrow('surprise');
  });
});

describe('otel telemetry', () => {
  test('a span keeps so many events, and nothing of what comes after its end', () => {
    const telemetry = otel();
    const span = telemetry.start('request');
    for (let index = 0; index < maxEvents + 2; index++) span.event('moved');
    span.end();
    span.event('late');
    span.set({ 'switchyard.code': 'late' });
    const [record] = telemetry.ring.find({ requestId: '', traceId: span.traceId });
    expect(record).toMatchObject({ attributesJson: '{}', events: { length: maxEvents } });
  });

  test('a traceparent that is not one begins a new trace', () => {
    const telemetry = otel();
    for (const traceparent of ['', 'junk', '00-00000000000000000000000000000000-0000000000000000-01', '00-xyz-1-01']) {
      const span = telemetry.start('request', { parent: { traceparent } });
      expect(span.traceId).toMatch(/^[0-9a-f]{32}$/);
      expect(span.traceId).not.toMatch(/^0+$/);
    }
  });

  test('the decision to export is the one of whoever began the trace; the ring has every trace', () => {
    const telemetry = otel({ sampleRatio: 0 });
    const unsampled = telemetry.start('request');
    expect(unsampled.context.traceparent).toMatch(/-00$/);
    const child = telemetry.start('child', { parent: unsampled.context });
    expect(child.context.traceparent).toMatch(/-00$/);
    child.end();
    unsampled.end();
    expect(telemetry.ring.find({ requestId: '', traceId: unsampled.traceId })).toHaveLength(2);
    const sampled = telemetry.start('request', { parent: { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` } });
    expect(sampled.context.traceparent).toMatch(/-01$/);
    const off = otel({ sampler: 'always_off' });
    const none = off.start('request');
    none.end();
    expect(off.ring.find({ requestId: '', traceId: none.traceId })).toEqual([]);
  });

  test.each([
    ['always_on', 0, true, true],
    ['always_off', 1, false, false],
    ['traceidratio', 0, false, false],
    ['traceidratio', 1, true, true],
    ['parentbased_always_on', 0, true, false],
    ['parentbased_always_off', 1, false, false],
    ['parentbased_traceidratio', 1, true, false],
    [undefined, 0, false, false],
  ] as const)('sampler %s with ratio %d: a new trace is exported: %s, one that others do not export: %s', (sampler, sampleRatio, own, others) => {
    const telemetry = otel({ ...(sampler ? { sampler } : {}), sampleRatio });
    const exported = (parent?: string) => /-01$/.test(telemetry.start('x', parent ? { parent: { traceparent: parent } } : {}).context.traceparent);
    expect(exported()).toBe(own);
    expect(exported(`00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`)).toBe(others);
  });

  test('with tracing off the context still passes through', () => {
    const telemetry = otel({ tracingOff: true });
    const traceparent = `00-${'c'.repeat(32)}-${'d'.repeat(16)}-01`;
    telemetry.within({ traceparent }, () => expect(telemetry.active()?.traceparent).toBe(traceparent));
    const span = telemetry.start('x', { parent: { traceparent } });
    expect(span.traceId).toBe('c'.repeat(32));
    span.end();
    expect(telemetry.ring.find({ requestId: '', traceId: 'c'.repeat(32) })).toEqual([]);
  });

  test('log lines carry the process, the fields and the active span', () => {
    const telemetry = otel();
    lines.length = 0;
    telemetry.span('route', {}, (span) => {
      telemetry.log.warn('lease lost', { lease: 'queue/chat', error: new Error('why') });
      expect(JSON.parse(lines[0]!)).toMatchObject({
        level: 'warn',
        message: 'lease lost',
        service: 'router',
        id: 'router-1',
        pid: 7,
        lease: 'queue/chat',
        trace_id: span.traceId,
        error: { message: 'why', stack: expect.stringContaining('why') },
      });
    });
    telemetry.log.info('outside');
    expect(JSON.parse(lines[1]!)).not.toHaveProperty('trace_id');
    otel({ logLevel: 'warn' }).log.info('too quiet');
    expect(lines).toHaveLength(2);
    otel({ logFormat: 'pretty' }).log.error('it broke', { attempt: 2, error: new Error('why') });
    expect(lines[2]).toMatch(/error.*router-1.*it broke.*attempt=.*2.*Error: why/s);
  });

  test('metrics come out in the text format, a label takes at most so many values', async () => {
    const telemetry = otel();
    for (let index = 0; index < maxLabelValues + 5; index++) telemetry.counter('switchyard_actor_crashes_total').add(1, { kind: `k${index}` });
    telemetry.counter('switchyard_actor_crashes_total').add(1, { kind: 'k3' });
    telemetry.histogram('switchyard_queue_wait_seconds').observe(0.3, { pool: 'chat', slo_class: 'default' });
    telemetry.gauge('switchyard_current_instances').set(4, { pool: 'chat' });
    const text = await telemetry.metricsText();
    expect(text).toContain('switchyard_actor_crashes_total{kind="other"} 5');
    expect(text).toContain('switchyard_actor_crashes_total{kind="k3"} 2');
    expect(text).toContain('switchyard_queue_wait_seconds_bucket{le="0.5",pool="chat",slo_class="default"} 1');
    expect(text).toContain('switchyard_current_instances{pool="chat"} 4');
    expect(text.match(/kind="/g)).toHaveLength(maxLabelValues + 1);
  });
});

describe('spans that have not ended', () => {
  test('are found by the request they are about, and drawn to the moment of asking', async () => {
    const clock = new VirtualClock();
    for (const telemetry of [otel({ clock }), createMemoryTelemetry(clock)]) {
      const outer = telemetry.start('chat m', { attributes: { 'switchyard.request.id': 'req-1' } });
      await clock.advance(30);
      const inner = telemetry.start('stream', { parent: outer.context });
      await clock.advance(10);
      const open = telemetry.ring.find({ requestId: 'req-1', traceId: '' });
      expect(open.map(({ name, open, startMs, endMs }) => [name, open, Math.round(endMs - startMs)])).toEqual([
        ['chat m', true, 40],
        ['stream', true, 10],
      ]);
      inner.end();
      await clock.advance(5);
      const later = telemetry.ring.find({ requestId: 'req-1', traceId: '' });
      expect(later.map(({ open, startMs, endMs }) => [open, Math.round(endMs - startMs)])).toEqual([
        [true, 45],
        [false, 10],
      ]);
      outer.end();
      expect(telemetry.ring.find({ requestId: '', traceId: outer.traceId }).map(({ open }) => open)).toEqual([false, false]);
    }
  });
});

describe('declared names', () => {
  const entries = Object.entries(metrics as Record<string, MetricEntry>);

  test.each(entries)('%s follows the naming rules', (name, entry) => {
    expect(name).toMatch(/^((switchyard|gen_ai|http_server)_[a-z0-9_]+|target_info)$/);
    if (entry.type === 'counter') expect(name).toMatch(/_total$/);
    else expect(name).not.toMatch(/_total$/);
    if (entry.type === 'histogram') expect([...entry.buckets!]).toEqual([...new Set(entry.buckets)].sort((a, b) => a - b));
    expect(entry.help).toMatch(/^[A-Z0-9(].*\.$/);
    for (const label of entry.labels) expect(label).not.toMatch(/user|session|key|request_id/);
  });

  test('attributes are declared once and never hold content', () => {
    expect(new Set(attributeNames).size).toBe(attributeNames.length);
    expect(attributeNames.filter((name) => /content|\.messages|api_key/.test(name))).toEqual([]);
  });
});
