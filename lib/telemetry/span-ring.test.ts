import { describe, expect, test } from 'vitest';
import { endedSpan, type GivenSpan } from '../testing/ended-span.ts';
import { toSpanRecord } from './recorded-span.ts';
import { createSpanRing } from './span-ring.ts';
import { TracePlace } from './trace-place.ts';

const nowMs = 1_000;
const ringOf = (maxSpans: number, maxBytes = 1_000_000) =>
  createSpanRing((span) => toSpanRecord(span, 'router', 'router-1', nowMs), { maxSpans, maxBytes });
const named = (name: string, rest: Partial<GivenSpan> = {}) => endedSpan({ traceId: 't', spanId: name, name, startMs: Number(name), ...rest });
const ofTrace = (traceId: string) => ({ requestId: '', traceId });
const about = (requestId: string) => ({ requestId, traceId: '' });

describe('span ring', () => {
  test('forgets the oldest at the limit', () => {
    const ring = ringOf(3);
    for (const name of ['1', '2', '3', '4', '5']) ring.add(named(name));
    expect(ring.find(ofTrace('t')).map((span) => span.name)).toEqual(['3', '4', '5']);
    expect(ring.find(ofTrace('t'), 2).map((span) => span.name)).toEqual(['3', '4']);
  });

  test('forgets the oldest when its memory is full, and nothing that is read back is damaged', () => {
    const ring = ringOf(1_000, 4_096);
    const failureOf = (index: number) => 'x'.repeat((index * 37) % 500);
    for (let index = 1; index <= 500; index++) {
      ring.add(named(String(index), { given: [{ 'switchyard.code': failureOf(index) }] }));
      const found = ring.find(ofTrace('t'));
      expect(found.length).toBeGreaterThan(index < 5 ? index - 1 : 4);
      expect(found.map(({ name }) => Number(name))).toEqual(found.map((_, at) => index - found.length + 1 + at));
      for (const { name, attributesJson } of found) expect(JSON.parse(attributesJson)['switchyard.code']).toBe(failureOf(Number(name)));
    }
  });

  test('a span that would push out most others is not kept', () => {
    const ring = ringOf(1_000, 4_096);
    ring.add(named('1'));
    ring.add(named('2', { failed: true, failure: 'x'.repeat(2_000) }));
    expect(ring.find(ofTrace('t')).map(({ name }) => name)).toEqual(['1']);
  });

  test('gives each span of the wanted traces once, and still finds it', () => {
    const ring = ringOf(10);
    ring.add(named('1'));
    ring.add(named('2', { traceId: 'u' }));
    ring.add(named('3'), true);
    expect(ring.take(new Set(['t'])).map(({ name }) => name)).toEqual(['1']);
    expect(ring.take(new Set(['t', 'u'])).map(({ name }) => name)).toEqual(['2']);
    expect(ring.find(ofTrace('t'))).toHaveLength(2);
  });

  test('what took its place is as new: nothing of a span that was taken stays', () => {
    const ring = ringOf(1);
    ring.add(named('1'), true);
    ring.add(named('2'));
    expect(ring.take(new Set(['t'])).map(({ name }) => name)).toEqual(['2']);
  });

  test('finds every trace in which a span names the request', () => {
    const ring = ringOf(10);
    ring.add(named('1', { traceId: 'a', given: [{ 'switchyard.request.id': 'r' }] }));
    ring.add(named('2', { traceId: 'a' }));
    ring.add(named('3', { traceId: 'b', given: [{ 'switchyard.request.id': 'other' }] }));
    ring.begin(named('4', { traceId: 'c', endMs: 0, given: [{ 'switchyard.request.id': 'r' }] }));
    expect(ring.find(about('r')).map(({ name, open }) => [name, open])).toEqual([
      ['1', false],
      ['2', false],
      ['4', true],
    ]);
    expect(ring.find(about('unknown'))).toEqual([]);
  });

  test('open spans are not shown beyond the limit, until they end', () => {
    const ring = ringOf(2);
    const spans = ['1', '2', '3'].map((name) => named(name));
    for (const span of spans) ring.begin(span);
    expect(ring.find(ofTrace('t')).map(({ name }) => name)).toEqual(['2', '3']);
    ring.add(spans[2]!);
    ring.add(spans[0]!);
    expect(ring.find(ofTrace('t'))).toHaveLength(3);
  });
});

describe('a span that is read back', () => {
  test('says what the span said', () => {
    const ring = ringOf(10);
    const span = named('7', {
      traceId: 'f'.repeat(32),
      parent: new TracePlace('p'.repeat(32), 'q'.repeat(16), true, true),
      kind: 'producer',
      links: [new TracePlace('l'.repeat(32), 'm'.repeat(16), false)],
      startMs: 1.79e12 + 0.125,
      endMs: 1.79e12 + 7.5,
      failed: true,
      failure: 'zu spät: 数 🚋',
      given: [
        { 'switchyard.pool': 'é', 'switchyard.epoch': 1, 'switchyard.code': undefined },
        { 'switchyard.epoch': -2.5, 'gen_ai.request.stream': true, 'switchyard.score': 0 },
      ],
      events: [
        { name: 'moved', atMs: 3, attributes: { 'switchyard.reason': 'drain' } },
        { name: 'späte Antwort', atMs: 4, attributes: undefined },
      ],
      droppedEvents: 3,
    });
    ring.add(span);
    const [read] = ring.take(new Set(['f'.repeat(32)]));
    const attributes = { 'switchyard.pool': 'é', 'switchyard.epoch': -2.5, 'gen_ai.request.stream': true, 'switchyard.score': 0 };
    const events = [span.events[0], { ...span.events[1], attributes: {} }];
    expect(read).toEqual({ ...span, attributes, given: [attributes], events });
  });

  test('names beyond what is numbered, and texts of any length, are kept', () => {
    const ring = ringOf(10_000, 8_000_000);
    for (let index = 0; index < 5_000; index++) ring.add(named('1', { traceId: `t${index}`, name: `name ${index}` }));
    ring.add(named('1', { traceId: 'long', name: 'last', failure: 'é数'.repeat(50_000) }));
    for (const index of [0, 4_095, 4_096, 4_999]) expect(ring.find(ofTrace(`t${index}`)).map(({ name }) => name)).toEqual([`name ${index}`]);
    expect(ring.take(new Set(['long']))[0]?.failure).toBe('é数'.repeat(50_000));
  });
});
