import { stripVTControlCharacters } from 'node:util';
import { expect, test } from 'vitest';
import type { SpanRow } from '../../lib/operator/types.ts';
import { journeyLines } from './trace.ts';

const span = (spanId: string, changes: Partial<SpanRow>): SpanRow => ({
  ...{ traceId: 't', spanId, parentSpanId: '', name: spanId, service: 'gateway', process: 'gateway-1', startMs: 1_000, endMs: 1_100 },
  ...{ failed: false, events: [], linkedTraceIds: [], attributes: {}, open: false },
  ...changes,
});

test('a journey is a tree with times; what has not ended is drawn to now and said to be open', () => {
  const lines = journeyLines({
    traceIds: ['t'],
    spans: [
      span('chat', { open: true }),
      span('admit', { parentSpanId: 'chat', startMs: 1_001, endMs: 1_003, process: 'admission-1', attributes: { 'switchyard.outcome': 'assigned' } }),
      span('stream', { parentSpanId: 'chat', startMs: 1_004, open: true, attributes: { 'switchyard.instance.id': 'chat-2' }, events: ['hand_over'] }),
      span('generate', { parentSpanId: 'stream', startMs: 1_005, endMs: 1_050, process: 'agent-chat-2' }),
    ],
  }).map(stripVTControlCharacters);
  expect(lines[0]).toBe('trace t: 4 spans in 3 processes, 100.0 ms so far');
  expect(
    lines.slice(2).map((line) =>
      line
        .replace(/ *[━╍]+ */, ' | ')
        .replace(/ +/g, ' ')
        .trim(),
    ),
  ).toEqual([
    '0.0 ms 100.0 ms | chat gateway-1 still open',
    '1.0 ms 2.0 ms | ├ admit admission-1 outcome=assigned',
    '4.0 ms 96.0 ms | └ stream gateway-1 still open instance=chat-2 · hand_over',
    '5.0 ms 45.0 ms | └ generate agent-chat-2',
  ]);
  expect(lines[2]).toContain('╍'.repeat(24));
  expect(lines[3]).toContain('━');
});
